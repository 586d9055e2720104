"""The global LSTM (neuralforecast): one network for all series.

Belongs here: windows, the training loop and the network's files. Does not belong here: the features, other models, the
blend.

The network is `neuralforecast.models.LSTM`, an encoder over the last `window` days; its decoder sees, beside the encoder's
state, the features of the day to come (`ml.forecast.features`) that the trees see too. Windows are cut from the panel's
arrays directly: building the library's long tables for a few steps costs more than the steps. The loss is the Tweedie
deviance on the sample that the trees learn from (`ml.forecast.sample`): errors count in units, and the output is a mean.
"""

from __future__ import annotations

import contextlib
import json
import logging
import random
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ml.forecast import statistical
from ml.forecast.boosted import threads
from ml.forecast.config import RecurrentConfig
from ml.forecast.errors import ForecastError
from ml.forecast.features import Block, least_level
from ml.forecast.panel import Panel
from ml.forecast.sample import LARGEST, POWER, Sample, matching

if TYPE_CHECKING:
    import torch

_WEIGHTS, _SHAPE = "network.safetensors", "network.json"
# In a batch of a few hundred windows one day of twenty times the level is all that is learned.
_LARGEST_PAST, _LARGEST_TARGET = 10.0, 10.0
_CALENDAR = 4
_FURTHEST = 5.0
_PREDICT_BATCH = 2048
_MATCHED = 20_000


@dataclass(frozen=True)
class Scaling:
    """Location and spread of the covariates and of the logarithm of the level; whether there is an in-stock share."""

    known: tuple[tuple[float, float], ...]
    past: tuple[tuple[float, float], ...]
    share: bool
    level: tuple[float, float]


@dataclass
class Recurrent:
    """A trained network with what is needed to feed it: `names` of the features its decoder sees, how far common drifts
    were taken out of its targets, and the factor after which its predictions sum to them."""

    network: torch.nn.Module
    horizon: int
    config: RecurrentConfig
    scaling: Scaling
    names: tuple[str, ...]
    damping: float
    scale: float = 1.0

    def predict(self, panel: Panel, demand: np.ndarray, origin: int, block: Block) -> np.ndarray:
        """Mean demand [N, H] of the block's days, which follow day `origin`."""
        since = max(origin - self.config.window, 0)
        windows = Windows(panel, demand, self.config, self.scaling, _device(self.config), slice(since, origin))
        series = np.arange(len(block.level))
        mean = self.relative(windows, series, np.full_like(series, origin - since), block.ordered(self.names))
        return np.minimum(mean, LARGEST) * block.level[:, None] * block.drift**self.damping * self.scale

    def relative(self, windows: Windows, series: np.ndarray, origin: np.ndarray, features: np.ndarray) -> np.ndarray:
        """What the network says [B, H] of the days with these `features` [B, H, F] after B origins of B series."""
        import torch

        device = _device(self.config)
        said = np.empty(features.shape[:2], np.float32)
        with torch.no_grad(), _threads(threads()), _running_on(self.network.eval(), device):
            for start in range(0, len(said), _PREDICT_BATCH):
                part = slice(start, start + _PREDICT_BATCH)
                whose, when, ahead = (torch.from_numpy(given[part]).to(device) for given in (series, origin, features))
                said[part] = _output(self.network, windows.cut(whose, when), ahead).cpu().numpy()
        return said

    def save(self, folder: Path) -> None:
        """Weights as safetensors, everything else as JSON."""
        from safetensors.torch import save_file

        save_file({k: v.detach().contiguous() for k, v in self.network.state_dict().items()}, folder / _WEIGHTS)
        content = {"horizon": self.horizon, "config": self.config.model_dump(), "scaling": asdict(self.scaling)}
        content |= {"names": list(self.names), "damping": self.damping, "scale": self.scale}
        (folder / _SHAPE).write_text(json.dumps(content, sort_keys=True), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Recurrent:
        from safetensors.torch import load_file

        content = json.loads((folder / _SHAPE).read_text(encoding="utf-8"))
        config, stored, names = RecurrentConfig(**content["config"]), content["scaling"], tuple(content["names"])
        known, past = (tuple(map(tuple, stored[name])) for name in ("known", "past"))
        scaling = Scaling(known, past, stored["share"], tuple(stored["level"]))
        network = _network(config, content["horizon"], scaling, len(names), seed=0)
        network.load_state_dict(load_file(folder / _WEIGHTS))
        return cls(network, content["horizon"], config, scaling, names, content["damping"], content["scale"])


def fit_recurrent(
    panel: Panel, demand: np.ndarray, sample: Sample, horizon: int, config: RecurrentConfig, seed: int
) -> Recurrent | None:
    """Train a network on the `sample` of a panel with recovered `demand` [N, T], or None where that is too little. Raises
    ForecastError where a GPU is insisted on and there is none."""
    if config.device == "cuda" and _device(config).type == "cpu":
        # A trained model does without: it was made elsewhere, and what it says is the same.
        raise ForecastError("recurrent.device is cuda, but PyTorch finds no GPU to train on; set it to auto or cpu.")
    days = demand.shape[1]
    if len(panel.keys) < config.min_series or days < 3 * 7 or not sample.target.any():
        return None
    # A window no longer than the history: what it would reach beyond is padding.
    config = config.model_copy(update={"window": max(min(config.window, days - 7), 7)})
    scaling = _scaling(panel, demand)
    network = _network(config, horizon, scaling, len(sample.names), seed)
    seen = sample.values[sample.weight > 0]
    with np.errstate(invalid="ignore"):
        moments = [_moments(seen[:, number]) for number in range(seen.shape[1])]
    _set_scale(network, moments)
    model = Recurrent(network, horizon, config, scaling, sample.names, sample.damping)
    windows = Windows(panel, demand, config, scaling, _device(config))
    _train(model, windows, sample, seed)
    some = np.random.default_rng(seed).permutation(len(sample.series))[:_MATCHED]
    said = model.relative(windows, sample.series[some], sample.origin[some], sample.values[some])
    return replace(model, scale=matching(sample.target[some], said, sample.weight[some]))


class Windows:
    """Cuts what the encoder reads out of the days `span` of a panel, as tensors on the device that the network runs on.

    Origins count from the first day of the span: one origin needs no more than its own window of a long history.
    """

    def __init__(
        self,
        panel: Panel,
        demand: np.ndarray,
        config: RecurrentConfig,
        scaling: Scaling,
        device: torch.device,
        span: slice = slice(None),
    ):
        import torch

        self.window, self.scaling, self.least = config.window, scaling, least_level(demand)
        start, stop, _ = span.indices(demand.shape[1])
        span, pad, days = slice(start, stop), config.window, stop - start
        demand = demand[:, span]
        first = int(panel.dates[:1].astype("datetime64[D]").astype(int)[0]) if len(panel.dates) else 0
        angle = 2 * np.pi * (np.arange(first + start - pad, first + stop) % 7) / 7
        calendar = np.stack([np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle)], 1)

        def padded(values: np.ndarray) -> np.ndarray:
            return np.pad(np.asarray(values, np.float32), ((0, 0), (pad, 0)))

        seen = np.isfinite(demand)
        past = [padded(seen)]
        if scaling.share:
            past.append(padded(panel.stocked[:, span]))
        for (centre, spread), values in zip(scaling.past, panel.past, strict=True):
            past.append(padded(_scaled(values[:, span], centre, spread)))
        known = [
            padded(_scaled(values[:, span], centre, spread))
            for (centre, spread), values in zip(scaling.known, panel.known, strict=True)
        ]
        on_device = {
            "demand": padded(np.where(seen, demand, 0.0)),
            "seen": past[0],
            "past": np.stack(past, axis=2),
            "known": np.stack(known, axis=2) if known else np.zeros((len(demand), days + pad, 0), np.float32),
            "calendar": calendar.astype(np.float32),
        }
        for name, values in on_device.items():
            setattr(self, name, torch.from_numpy(values).to(device))

    def cut(self, series: torch.Tensor, origin: torch.Tensor) -> torch.Tensor:
        """What the encoder reads [B, window, channels] before each of B origins, in the order that the library has."""
        import torch

        rows, back = series[:, None], origin[:, None] + torch.arange(self.window, device=origin.device)
        demand, seen = self.demand[rows, back], self.seen[rows, back]
        level = _level(demand, seen, self.least)
        scaled = torch.clamp(demand / level[:, None], max=_LARGEST_PAST)
        centre, spread = self.scaling.level
        static = torch.stack([(torch.log(level) - centre) / spread, ((scaled == 0) * seen).mean(1)], dim=1)
        static = static[:, None].expand(-1, self.window, -1)
        return torch.cat(
            (scaled[:, :, None], self.past[rows, back], static, self.known[rows, back], self.calendar[back]), dim=2
        )


def _level(demand: torch.Tensor, seen: torch.Tensor, least: float) -> torch.Tensor:
    """Mean [B] of the last 28 days, drawn towards that of the window; `least` where that is 0."""
    import torch

    long_run = demand.sum(1) / torch.clamp(seen.sum(1), min=1)
    total, count = demand[:, -28:].sum(1), seen[:, -28:].sum(1)
    level = (total + 3 * long_run) / (count + 3)
    return torch.where(level > 0, level, least)


def _train(model: Recurrent, windows: Windows, sample: Sample, seed: int) -> None:
    """Adam with a one-cycle learning rate on random windows of the sample."""
    import torch

    device, steps = _device(model.config), model.config.steps
    rng = np.random.default_rng(seed)
    drawn = (sample.series, sample.origin, sample.values, sample.target, sample.weight)
    drawn = [torch.from_numpy(values).to(device) for values in drawn]
    # One thread: batches are small, and on a shared machine threads wait for each other longer than they work.
    with _threads(1), _running_on(model.network.train(), device), torch.random.fork_rng():
        torch.manual_seed(seed)
        optimizer = torch.optim.Adam(model.network.parameters(), lr=model.config.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, model.config.learning_rate, total_steps=steps + 1)
        for _ in range(steps):
            pick = torch.from_numpy(rng.integers(0, len(sample.series), model.config.batch)).to(device)
            series, origin, features, target, weight = (values[pick] for values in drawn)
            mean = _output(model.network, windows.cut(series, origin), features)
            target = torch.clamp(target, max=_LARGEST_TARGET)
            deviance = target * mean ** (1 - POWER) / (POWER - 1) + mean ** (2 - POWER) / (2 - POWER)
            loss = (weight * deviance).sum() / torch.clamp(weight.sum(), min=1e-6)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.network.parameters(), 1.0)
            optimizer.step()
            schedule.step()


def _output(network: torch.nn.Module, past: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Means [B, H], relative to the level, from what the encoder reads and the features [B, H, F] of the days to come.

    The encoder's state after the last day known is what every lead day starts from. The library's own forward pass gives
    lead day h the state of H - h days before that, so that tomorrow would be forecast without the newest fortnight.
    """
    import torch

    states, _ = network.hist_encoder(past)
    state = states[:, -1:].expand(-1, features.shape[1], -1)
    scaled = torch.nan_to_num((features - network.centre) / network.spread, nan=0.0)
    known = torch.clamp(scaled, -_FURTHEST, _FURTHEST)
    raw = network.decoder(torch.cat((state, known), dim=2))[..., 0]
    return torch.nn.functional.softplus(raw) + 1e-4


def _network(config: RecurrentConfig, horizon: int, scaling: Scaling, features: int, seed: int) -> torch.nn.Module:
    """A fresh network; creating it must not disturb the random state of the process."""
    import torch
    from neuralforecast.losses.pytorch import MAE
    from neuralforecast.models import LSTM
    from torch import nn

    # They set their levels when they are imported.
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    state, plain = np.random.get_state(), random.getstate()
    with torch.random.fork_rng():
        network = LSTM(
            h=horizon,
            input_size=config.window,
            encoder_n_layers=config.layers,
            encoder_hidden_size=config.hidden,
            hist_exog_list=[f"past_{number}" for number in range(1 + scaling.share + len(scaling.past))],
            futr_exog_list=[f"known_{number}" for number in range(len(scaling.known) + _CALENDAR)],
            stat_exog_list=["level", "zero_share"],
            loss=MAE(),
            max_steps=1,
            random_seed=seed,
        )
        # The library's decoder knows of a day to come only what the encoder knows of each day past.
        del network.mlp_decoder
        hidden, dropout = config.hidden, config.dropout
        network.decoder = nn.Sequential(
            nn.Linear(hidden + features, 2 * hidden), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 1),
        )  # fmt: skip
        _set_scale(network, [(0.0, 1.0)] * features)
    np.random.set_state(state)
    random.setstate(plain)
    return network


def _set_scale(network: torch.nn.Module, moments: list[tuple[float, float]]) -> None:
    """Location and spread of each feature, kept with the weights."""
    import torch

    for name, values in zip(("centre", "spread"), np.array(moments, np.float32).reshape(-1, 2).T, strict=True):
        network.register_buffer(name, torch.from_numpy(values.copy()))


def _scaling(panel: Panel, demand: np.ndarray) -> Scaling:
    level = np.log(statistical.moving_average(demand, 1)[:, 0] + least_level(demand))
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


def _device(config: RecurrentConfig) -> torch.device:
    """Where the network runs: a GPU when there is one, unless `config.device` is cpu."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() and config.device != "cpu" else "cpu")


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
