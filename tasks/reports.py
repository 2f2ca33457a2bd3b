"""Tasks of the drift check's reports: Evidently beside every verdict, never in its place."""

from prefect.artifacts import create_link_artifact, create_markdown_artifact

from mlops.adapters import evidently_report, evidently_workspace
from tasks.bundles import bundle_frame
from tasks.context import open_model
from tasks.network import network_task
from tasks.windows import judged_rows, judged_windows


@network_task("find windows without a report")
def unreported_windows(model: str, most: int = 20) -> list[str]:
    """The newest windows with a standing verdict and no report, oldest first; a check that died left some."""
    context = open_model(model)
    written = set(context.store.list(f"{model}/reports/drift/"))
    names = [judged.window.name for judged in judged_windows(context)][-most:]
    return [name for name in names if report_key(model, name) not in written]


@network_task("report {window}", timeout=300)
def report_window(model: str, window: str) -> str:
    """Write Evidently's report on a judged window to the store and its workspace, link it, and return its key."""
    context = open_model(model)
    judged = next(each for each in judged_windows(context) if each.window.name == window)
    rows = judged_rows(context, [judged])
    target = context.spec.data.target.name
    report = evidently_report.render(
        bundle_frame(context, judged.digest, "reference.parquet"),
        rows.rename(columns={"_predicted": evidently_report.PREDICTION}),
        context.spec.data,
        labelled=bool(rows[target].notna().any()),
        label=evidently_report.Label(
            window, judged.first, (judged.verdict.verdict, f"version {judged.verdict.version}")
        ),
    )
    key = report_key(model, window)
    project = f"{context.settings.evidently_uri}/projects/{evidently_workspace.project_id(model)}"
    if report.run is not None:
        evidently_workspace.publish(context.store, model, context.spec.data, window, report.run)
    create_link_artifact(
        key=f"{model}-evidently",
        link=f"{context.settings.reports_uri}/{key}",
        link_text=f"Evidently report of {window}",
        description=_summary(report.summary),
    )
    create_markdown_artifact(
        key=f"{model}-evidently-summary",
        description=f"Evidently on {window}",
        markdown=f"# Evidently on {model}, window {window}\n\n{_summary(report.summary)}\n\n"
        f"[This window's report]({context.settings.reports_uri}/{key}) · [all windows]({project})\n\n"
        "What Evidently calls drift is not the verdict; that has its own page.\n",
    )
    context.store.put(key, report.html)  # Last: what has a page is reported whole.
    return key


def report_key(model: str, window: str) -> str:
    """Where a window's report is in the store."""
    return f"{model}/reports/drift/{window}.html"


def _summary(summary: dict[str, object]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in summary.items())
