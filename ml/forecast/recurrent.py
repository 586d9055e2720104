"""The global LSTM (neuralforecast): one network for all series, with known-future covariates.

Belongs here: windows, the training loop and the network's files. Does not belong here: other models, the blend.

The network is `neuralforecast.models.LSTM`, an encoder over the last `window` days with a decoder that sees the covariates
of the day to come. Its windows are cut from the panel's arrays directly: building the library's long tables for a few
steps costs more than the steps. Demand is divided by its level at the origin, as for the trees, and the decoder also gets
each day's weekday mean so far, so that it learns departures from the profile. The loss is the Poisson deviance, weighted
by the level: errors count in units, and the output is a mean.
"""

from __future__ import annotations

import contextlib
import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ml.demand import Demand, evidence, exposed
from ml.forecast import statistical
from ml.forecast.boosted import threads
from ml.forecast.config import RecurrentConfig
from ml.forecast.drift import RECENT, common_drift, damping, drift_so_far, stretch
from ml.forecast.errors import ForecastError
from ml.forecast.panel import Panel

if TYPE_CHECKING:
    import torch

_WEIGHTS, _SHAPE = "network.safetensors", "network.json"
_LARGEST = 10.0
_CALENDAR = 4
_ORIGIN = 3
_PREDICT_BATCH = 2048


@dataclass(frozen=True)
class Scaling:
    """Location and spread of the covariates and of the logarithm of the level; whether there is an in-stock share."""

    known: tuple[tuple[float, float], ...]
    past: tuple[tuple[float, float], ...]
    share: bool
    level: tuple[float, float]


@dataclass
class Recurrent:
    """A trained network with what is needed to feed it."""

    network: torch.nn.Module
    horizon: int
    config: RecurrentConfig
    scaling: Scaling
    damping: float

    def predict(self, panel: Panel, demand: np.ndarray, origin: int, horizon: int) -> np.ndarray:
        """Mean demand [N, H] of the days after `origin`."""
        import torch

        device = _device(self.config)
        windows = Windows(panel, demand, self.horizon, self.config, self.scaling, device)
        mean = np.empty((len(panel.keys), self.horizon), np.float32)
        with torch.no_grad(), _threads(threads()), _running_on(self.network.eval(), device):
            for start in range(0, len(mean), _PREDICT_BATCH):
                series = torch.arange(start, min(start + _PREDICT_BATCH, len(mean)), device=device)
                batch, level = windows.cut(series, torch.full_like(series, origin))
                mean[start : start + len(series)] = (_output(self.network, batch) * level[:, None]).cpu().numpy()
        return mean[:, :horizon] * windows.drift_so_far(origin) ** self.damping

    def save(self, folder: Path) -> None:
        """Weights as safetensors, everything else as JSON."""
        from safetensors.torch import save_file

        save_file({k: v.detach().contiguous() for k, v in self.network.state_dict().items()}, folder / _WEIGHTS)
        content = {"horizon": self.horizon, "config": self.config.model_dump(), "scaling": asdict(self.scaling)}
        content["damping"] = self.damping
        (folder / _SHAPE).write_text(json.dumps(content, sort_keys=True), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Recurrent:
        from safetensors.torch import load_file

        content = json.loads((folder / _SHAPE).read_text(encoding="utf-8"))
        config, stored = RecurrentConfig(**content["config"]), content["scaling"]
        known, past = (tuple(map(tuple, stored[name])) for name in ("known", "past"))
        scaling = Scaling(known, past, stored["share"], tuple(stored["level"]))
        network = _network(config, content["horizon"], scaling, seed=0)
        network.load_state_dict(load_file(folder / _WEIGHTS))
        return cls(network, content["horizon"], config, scaling, content["damping"])


def fit_recurrent(panel: Panel, demand: Demand, horizon: int, config: RecurrentConfig, seed: int) -> Recurrent | None:
    """Train a network on `demand` of the panel, or None where there is too little to learn from."""
    days = demand.expected.shape[1]
    if len(panel.keys) < config.min_series or days < 3 * 7 or not np.nansum(demand.expected) > 0:
        return None
    # A window no longer than the history: what it would reach beyond is padding.
    config = config.model_copy(update={"window": max(min(config.window, days - 7), 7)})
    scaling = _scaling(panel, demand.expected)
    model = Recurrent(_network(config, horizon, scaling, seed), horizon, config, scaling, damping(days, horizon))
    _train(model, panel, demand, config.steps, seed)
    return model


def update_recurrent(model: Recurrent, panel: Panel, demand: Demand, seed: int) -> Recurrent:
    """The same network after half as many further steps on `demand`, which reaches further than what it has seen."""
    import copy

    updated = replace(model, network=copy.deepcopy(model.network))
    _train(updated, panel, demand, max(model.config.steps // 2, 1), seed + 1)
    return updated


class Windows:
    """Cuts (series, origin) windows out of a panel as the tensors the network takes, on the device it runs on."""

    def __init__(
        self,
        panel: Panel,
        demand: np.ndarray,
        horizon: int,
        config: RecurrentConfig,
        scaling: Scaling,
        device: torch.device,
    ):
        import torch

        self.horizon, self.window, self.scaling = horizon, config.window, scaling
        self.days = demand.shape[1]
        pad, total = config.window, self.days + horizon
        first = int(panel.dates[:1].astype("datetime64[D]").astype(int)[0]) if len(panel.dates) else 0
        angle = 2 * np.pi * (np.arange(first - pad, first + total) % 7) / 7
        calendar = np.stack([np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle)], 1)

        def padded(values: np.ndarray, after: int = horizon) -> np.ndarray:
            return np.pad(np.asarray(values, np.float32), ((0, 0), (pad, after)))

        seen = np.isfinite(demand)
        past = [seen]
        if scaling.share:
            past.append(panel.stocked[:, : self.days])
        for (centre, spread), values in zip(scaling.past, panel.past, strict=True):
            past.append(_scaled(values[:, : self.days], centre, spread))
        known = [
            padded(_scaled(_to_length(values, total), centre, spread), after=0)
            for (centre, spread), values in zip(scaling.known, panel.known, strict=True)
        ]
        on_device = {
            "seen": padded(seen),
            "demand": padded(np.where(seen, demand, 0.0)),
            "sales": padded(np.nan_to_num(panel.sales[:, : self.days])),
            "exposure": padded(exposed(panel.sales, panel.share)[:, : self.days]),
            "past": np.stack([padded(values) for values in past], axis=2),
            "known": np.stack(known, axis=2) if known else np.zeros((len(demand), total + pad, 0), np.float32),
            "calendar": calendar.astype(np.float32),
        }
        for name, values in on_device.items():
            setattr(self, name, torch.from_numpy(values).to(device))

    def cut(self, series: torch.Tensor, origin: torch.Tensor) -> tuple[dict, torch.Tensor]:
        """The network's input for B windows, and the level [B] that demand was divided by."""
        import torch

        pad = self.window
        rows = series[:, None]
        back, ahead = self._days(origin, 0, pad), self._days(origin, 0, pad + self.horizon)
        demand, seen = self.demand[rows, back], self.seen[rows, back]
        level = self._level(rows, origin)
        scaled = torch.clamp(demand / level[:, None], max=_LARGEST)
        at_origin = torch.nn.functional.pad(self._at_origin(scaled, seen), (0, 0, pad, 0))
        centre, spread = self.scaling.level
        zeros = ((scaled == 0) * seen).mean(1)
        batch = {
            "insample_y": scaled[:, :, None],
            "hist_exog": self.past[rows, back],
            "futr_exog": torch.cat((self.known[rows, ahead], self.calendar[ahead], at_origin), dim=2),
            "stat_exog": torch.stack([(torch.log(level) - centre) / spread, zeros], dim=1),
        }
        return batch, level

    def target(
        self, series: torch.Tensor, origin: torch.Tensor, level: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Sales [B, H] over the part of each day in which they could be made, relative to the level; and that part."""
        import torch

        rows, ahead = series[:, None], self._days(origin, self.window, self.horizon)
        exposure = self.exposure[rows, ahead]
        rate = self.sales[rows, ahead] / torch.where(exposure > 0, exposure, 1.0) / level[:, None]
        return torch.clamp(rate, max=_LARGEST), exposure

    def drifts(self, every: int = 7) -> np.ndarray:
        """How far all series together moved from their levels after each origin [T], interpolated between every few."""
        origins = np.arange(self.days - 1, 0, -every)[::-1]
        found = []
        for origin in origins:
            days = stretch(int(origin), self.horizon, self.days)
            ahead = slice(days.start + self.window, days.stop + self.window)
            sold, exposure = self.sales[:, ahead], self.exposure[:, ahead]
            found.append(common_drift(sold, exposure, self._level_of_all(int(origin))))
        return np.interp(np.arange(self.days), origins, found)

    def drift_so_far(self, origin: int) -> float:
        """How far all series together had moved from their levels by `origin`."""
        recent = slice(max(origin + self.window - RECENT, 0), origin + self.window)
        return drift_so_far(self.demand[:, recent].sum(1), self.seen[:, recent].sum(1), self._level_of_all(origin))

    def _days(self, origin: torch.Tensor, start: int, count: int) -> torch.Tensor:
        """Positions [B, count] from `start` on in the window of each origin."""
        import torch

        return origin[:, None] + torch.arange(start, start + count, device=origin.device)

    def _level_of_all(self, origin: int) -> torch.Tensor:
        import torch

        rows = torch.arange(len(self.demand), device=self.demand.device)
        return self._level(rows[:, None], torch.full_like(rows, origin))

    def _level(self, rows: torch.Tensor, origin: torch.Tensor) -> torch.Tensor:
        """Mean [B] of the last 28 days, or of the window where none of them was observed; never 0."""
        import torch

        reach = min(28, self.window)
        recent, back = self._days(origin, self.window - reach, reach), self._days(origin, 0, self.window)
        long_run = (self.demand[rows, back].sum(1) + 1e-6) / torch.clamp(self.seen[rows, back].sum(1), min=1)
        total, count = self.demand[rows, recent].sum(1), self.seen[rows, recent].sum(1)
        return torch.clamp((total + 3 * long_run) / (count + 3), min=1e-6)

    def _at_origin(self, scaled: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """What is known at the origin about each day to come [B, H, 3]: its weekday's mean, last week's mean, the lead."""
        import torch

        weeks = self.window // 7
        shape, sold = (len(scaled), weeks, 7), scaled * seen
        sums, counts = (values[:, -7 * weeks :].reshape(shape).sum(1) for values in (sold, seen))
        profile = (sums + 2) / (counts + 2)
        week = (sold[:, -7:].sum(1) + 1) / (seen[:, -7:].sum(1) + 1)
        lead = torch.arange(self.horizon, device=scaled.device)
        part = (lead / self.horizon).expand(len(scaled), -1)
        return torch.stack([profile[:, lead % 7], week[:, None].expand_as(part), part], dim=2)


def _train(model: Recurrent, panel: Panel, demand: Demand, steps: int, seed: int) -> None:
    """`steps` of Adam with a one-cycle learning rate on random windows."""
    import torch

    device = _device(model.config)
    windows = Windows(panel, demand.expected, model.horizon, model.config, model.scaling, device)
    rng = np.random.default_rng(seed)
    pool = [torch.from_numpy(values) for values in _pool(panel, demand.expected)]
    drift = torch.from_numpy((windows.drifts() ** model.damping).astype(np.float32)).to(device)
    # One thread: batches are small, and on a shared machine threads wait for each other longer than they work.
    with _threads(1), _running_on(model.network.train(), device):
        optimizer = torch.optim.Adam(model.network.parameters(), lr=model.config.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, model.config.learning_rate, total_steps=steps + 1)
        for _ in range(steps):
            pick = torch.from_numpy(rng.integers(0, len(pool[0]), model.config.batch))
            series, origin = (values[pick].to(device) for values in pool)
            batch, level = windows.cut(series, origin)
            target, exposure = windows.target(series, origin, level * drift[origin])
            told = evidence(exposure, level[:, None], demand.dispersion)
            weight = torch.clamp(level / level.mean(), max=5)[:, None] * told
            mean = _output(model.network, batch)
            loss = (weight * (mean - target * torch.log(mean))).sum() / torch.clamp(weight.sum(), min=1e-6)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.network.parameters(), 1.0)
            optimizer.step()
            schedule.step()


def _pool(panel: Panel, demand: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All (series, origin) pairs with a week of past within the last year; newer ones come as they are."""
    days = demand.shape[1]
    first = panel.first
    earliest = max(7, days - 364)
    origins = np.arange(earliest, days)
    alive = first[:, None] + 7 <= origins
    series, at = np.nonzero(alive)
    if not len(series):
        return np.arange(len(first)), np.full(len(first), days - 1)
    return series, origins[at]


def _output(network, batch: dict):
    """Means [B, H], relative to the level.

    The encoder's state after the last day known is what every lead day starts from. The library's own forward pass gives
    lead day h the state of H - h days before that, so that tomorrow would be forecast without the newest fortnight.
    """
    import torch

    past, known = batch["insample_y"], batch["futr_exog"]
    window, horizon = past.shape[1], known.shape[1] - past.shape[1]
    static = batch["stat_exog"].unsqueeze(1).expand(-1, window, -1)
    states, _ = network.hist_encoder(torch.cat((past, batch["hist_exog"], static, known[:, :window]), dim=2))
    state = states[:, -1:].expand(-1, horizon, -1)
    raw = network.mlp_decoder(torch.cat((state, known[:, window:]), dim=2))[..., 0]
    return torch.nn.functional.softplus(raw) + 1e-4


def _network(config: RecurrentConfig, horizon: int, scaling: Scaling, seed: int):
    """A fresh network; creating it must not disturb the random state of the process."""
    import torch
    from neuralforecast.losses.pytorch import MAE
    from neuralforecast.models import LSTM

    # They set their levels when they are imported.
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    state = np.random.get_state()
    with torch.random.fork_rng():
        network = LSTM(
            h=horizon,
            input_size=config.window,
            encoder_n_layers=config.layers,
            encoder_hidden_size=config.hidden,
            decoder_hidden_size=config.hidden,
            decoder_layers=2,
            hist_exog_list=[f"past_{number}" for number in range(1 + scaling.share + len(scaling.past))],
            futr_exog_list=[f"known_{number}" for number in range(len(scaling.known) + _CALENDAR + _ORIGIN)],
            stat_exog_list=["level", "zero_share"],
            loss=MAE(),
            max_steps=1,
            random_seed=seed,
        )
    np.random.set_state(state)
    return network


def _scaling(panel: Panel, demand: np.ndarray) -> Scaling:
    level = np.log(statistical.moving_average(demand, 1)[:, 0] + 1e-6)
    return Scaling(
        tuple(_moments(values[:, : demand.shape[1]]) for values in panel.known),
        tuple(_moments(values) for values in panel.past),
        panel.stocked is not None,
        _moments(level),
    )


def _moments(values: np.ndarray) -> tuple[float, float]:
    values = values[np.isfinite(values)].astype(np.float64)
    if not len(values):
        return 0.0, 1.0
    return float(values.mean()), float(max(values.std(), 1e-6))


def _scaled(values: np.ndarray, centre: float, spread: float) -> np.ndarray:
    """Standardised and cut at 5 deviations; what is not known takes the mean."""
    return np.clip((np.nan_to_num(values, nan=centre) - centre) / spread, -5, 5).astype(np.float32)


def _to_length(values: np.ndarray, total: int) -> np.ndarray:
    if values.shape[1] >= total:
        return values[:, :total]
    return np.pad(values, ((0, 0), (0, total - values.shape[1])), constant_values=np.nan)


def _device(config: RecurrentConfig) -> torch.device:
    """Where the network runs: a GPU when there is one, unless `config.device` says otherwise."""
    import torch

    has_gpu = torch.cuda.is_available()
    if config.device == "cuda" and not has_gpu:
        raise ForecastError("recurrent.device is cuda, but PyTorch finds no GPU here; set it to auto or cpu.")
    return torch.device("cuda" if has_gpu and config.device != "cpu" else "cpu")


@contextlib.contextmanager
def _running_on(network: torch.nn.Module, device: torch.device):
    """The network on `device` for a while; it rests in ordinary memory, where it is saved from."""
    network.to(device)
    try:
        yield
    finally:
        network.to("cpu")


@contextlib.contextmanager
def _threads(count: int):
    """Torch on `count` threads for a while."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
