"""`told/approvers`: the digest of what awaits approval, in Slack."""

import dagster as dg

from connectors.errors import PermanentError
from orchestration.assets.marts import cycle_date
from orchestration.assets.planning import PROPOSALS
from orchestration.resources import StockflowResource

APPROVERS = dg.AssetKey(["told", "approvers"])


def digest_asset(partitions: dg.PartitionsDefinition, timezone: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=APPROVERS,
        deps=[PROPOSALS],
        partitions_def=partitions,
        group_name="told",
        kinds={"slack"},
        pool="slack",
        retry_policy=dg.RetryPolicy(max_retries=3, delay=20, backoff=dg.Backoff.EXPONENTIAL),
        description="What awaits approval, told in Slack once a morning; planned again, the same message is changed.",
    )
    def told_approvers(context: dg.AssetExecutionContext, stockflow: StockflowResource) -> dg.MaterializeResult:
        from operations import proposals
        from orchestration.telling import Slack, post_digest, refresh_earlier

        app = stockflow.app
        morning = cycle_date(context, timezone)
        newest = proposals.cycles(app.engine, 1)
        if newest and newest[0]["cycle_date"] > morning:
            return dg.MaterializeResult(metadata={"messages": 0, "why none": "a later morning has been planned"})
        if app.settings.business.slack is None:
            raise dg.Failure("config.yaml no longer names Slack: reload the code location.", allow_retries=False)
        slack = Slack.of(app.settings.business.slack)
        try:
            messages = post_digest(app.engine, slack, morning)
            refresh_earlier(app.engine, slack, morning)
        except PermanentError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        return dg.MaterializeResult(metadata={"messages": messages})

    return told_approvers
