"""Everything that is claimed about speed, measured: `python -m benchmarks [PART ...]`, all parts without one.

    speed    conversions beside `cp -r` of their source, and beside the script that everybody writes
    peers    the same by transformers, litgpt and mergekit (`--peers PYTHON`, an interpreter that has them)
    memory   peak resident memory against the size of the checkpoint
    scale    planning at the size of the largest models
    start    commands that read no tensors

Writes below `--folder`, or a temporary directory; everything is removed at the end. `--write FILE` keeps the report as Markdown.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import measure, memory, scale, speed, start
from benchmarks.gate import gate
from benchmarks.jobs import JOBS, Job, Sources
from benchmarks.report import Report, machine

PARTS = ("speed", "peers", "memory", "scale", "start")
GIGABYTE = 10**9


def main() -> None:
    """Run the parts, print their tables, and write the report."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], metavar="PART")
    parser.add_argument("--size", type=float, default=2.5, help="GB of the source checkpoint (2.5)")
    parser.add_argument("--rounds", type=int, default=5, help="measured runs of every command (5)")
    parser.add_argument("--jobs", default=",".join(JOBS), help="of `speed` (all)")
    parser.add_argument("--no-naive", action="store_true", help="leave the script out")
    parser.add_argument("--peers", type=Path, help="an interpreter with transformers, litgpt and mergekit")
    parser.add_argument("--sizes", default="1.25,2.5,5", help="GB, of `memory` (1.25,2.5,5)")
    parser.add_argument("--folder", type=Path, help="where to write")
    parser.add_argument("--write", type=Path, help="keep the report here")
    parser.add_argument(
        "--gate", action="store_true", help="only see that nothing is far from what it was; exit 1 if it is"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        place = Path(folder)
        if arguments.gate:
            sys.exit(gate(place))
        report = Report(arguments.write)
        report.text(machine(place))
        runs: dict[str, Callable[[argparse.Namespace, Path, Report], None]] = {
            "speed": _speed,
            "peers": _peers,
            "memory": _memory,
            "scale": _scale,
            "start": _start,
        }
        for part in arguments.parts or PARTS:
            runs[part](arguments, place, report)


def _speed(arguments: argparse.Namespace, folder: Path, report: Report) -> None:
    report.heading(f"Conversions of {arguments.size:g} GB beside `cp -r`")
    report.text(
        "`cp, synced` and `tensormap` wait until the data are on the disk, `cp` and `tensormap --no-sync` do not. Whole processes;"
        f" commands take turns, {arguments.rounds} times after one that is not counted."
        " A ratio is the median over neighbours, and best against best."
    )
    jobs = [JOBS[name] for name in arguments.jobs.split(",")]
    sources = Sources(folder, int(arguments.size * GIGABYTE))
    rows: list[list[object]] = []
    verdicts = []
    for job, timings in speed.speed(jobs, sources, folder / "target", arguments.rounds, naive=not arguments.no_naive):
        own = speed.rows(job, timings)
        report.progress(measure.table(speed.COLUMNS, own))
        rows += own
        verdicts.append(speed.verdict(job, timings))
    report.text(measure.table(speed.COLUMNS, rows))
    report.text("\n".join(verdicts))


def _peers(arguments: argparse.Namespace, folder: Path, report: Report) -> None:
    if arguments.peers is None:
        report.progress("peers: left out, for `--peers` names no interpreter")
        return
    report.heading(f"Other libraries, {arguments.size:g} GB")
    sources = Sources(folder, int(arguments.size * GIGABYTE))
    rows: list[list[object]] = []
    pairs: tuple[tuple[str, str, Job], ...] = (
        ("transformers", "load and save", JOBS["rename"]),
        ("mergekit", "passthrough", JOBS["rename"]),
        ("litgpt", "convert_hf_checkpoint", Job("litgpt", "llama", "litgpt/llama", ("--to", "litgpt"))),
        ("transformers-fused", "load and save, experts fused", JOBS["experts"]),
    )
    target = folder / "target"
    for tool, says, job in pairs:
        source = sources.get(job.source)
        commands = {
            "cp": ["cp", "-r", str(source), str(target)],
            f"tensormap {job.mapping}": job.command(source, target),
            f"{tool.partition('-')[0]}: {says}": [
                str(arguments.peers), "-m", "benchmarks.peers", tool, str(source), str(target)
            ],
        }  # fmt: skip
        timings = measure.rounds(commands, target, arguments.rounds)
        own = speed.rows(job, timings)
        report.progress(measure.table(speed.COLUMNS, own))
        rows += own
    report.text(measure.table(speed.COLUMNS, rows))


def _memory(arguments: argparse.Namespace, folder: Path, report: Report) -> None:
    report.heading("Peak resident memory of the whole process")
    sizes = [float(each) for each in arguments.sizes.split(",")]
    rows: list[list[object]] = []
    for name, points, limit in memory.memory(folder, sizes):
        rows.append([name, *(round(peak) for _, peak in points), round(memory.slope(points), 1), limit])
    report.text(measure.table(["job", *(f"MB at {size:g} GB" for size in sizes), "MB to a GB more", "limit"], rows))


def _scale(arguments: argparse.Namespace, folder: Path, report: Report) -> None:
    report.heading("Planning from headers alone")
    rows = []
    for row in scale.scale(folder / "scale", min(3, arguments.rounds)):
        report.progress(measure.table(scale.COLUMNS, [row]))
        rows.append(row)
    report.text(measure.table(scale.COLUMNS, rows))


def _start(arguments: argparse.Namespace, folder: Path, report: Report) -> None:
    report.heading("Commands that read no tensors")
    sources = Sources(folder / "start", GIGABYTE // 10)
    rows = list(start.start(sources, max(5, arguments.rounds)))
    report.text(measure.table(start.COLUMNS, rows))


if __name__ == "__main__":
    main()
