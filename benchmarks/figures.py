"""The table: every figure beside its bound."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

KINDS = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}

# Figures by name, of one benchmark on one database.
Figures = Mapping[str, float]
# By benchmark and kind of database.
Results = Mapping[tuple[str, str], Figures]


@dataclass(frozen=True, slots=True)
class Bound:
    """What a figure must be: at least or at most a number, which may come from the same run."""

    words: str
    least: Callable[[Figures], float] | None = None
    most: Callable[[Figures], float] | None = None

    def is_kept(self, value: float, figures: Figures) -> bool:
        if self.least is not None and value < self.least(figures):
            return False
        return self.most is None or value <= self.most(figures)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: a figure of a benchmark, its name in words, its format and its bound."""

    figure: str
    words: str
    form: str
    bound: Bound


@dataclass(frozen=True, slots=True)
class Section:
    """The lines of one benchmark."""

    benchmark: str
    title: str
    lines: Sequence[Line]


def at_least(number: float, words: str = "") -> Bound:
    return Bound(words or f"≥ {number:,g}", least=lambda _: number)


def at_most(number: float, words: str = "") -> Bound:
    return Bound(words or f"≤ {number:,g}", most=lambda _: number)


def print_table(sections: Sequence[Section], results: Results) -> list[str]:
    """Print what was measured; return the lines that miss their bound."""
    missed: list[str] = []
    print(f"\n{'':52}{'SQLite':>12}  {'PostgreSQL':>12}    bound")
    for section in sections:
        if not any(benchmark == section.benchmark for benchmark, _ in results):
            continue
        print(f"\n{section.title}")
        for line in section.lines:
            cells = ""
            for kind, kind_words in KINDS.items():
                figures = results.get((section.benchmark, kind))
                if figures is None:
                    cells += f"{'':>12}  "
                    continue
                value = figures[line.figure]
                is_kept = line.bound.is_kept(value, figures)
                cells += f"{value:>12{line.form}}{'  ' if is_kept else ' ✗'}"
                if not is_kept:
                    missed.append(f"{line.words}, {kind_words} ({section.title})")
            print(f"  {line.words:50}{cells}  {line.bound.words}")
    return missed


def print_growth(results: Results, sizes: Sequence[int], costs: Sequence[tuple[str, str, str]]) -> None:
    """Print how each cost grows with the number of tracks; `costs` are (figure, words, format)."""
    measured = {kind: results[benchmark, kind] for benchmark, kind in results if benchmark == "growth"}
    if not measured:
        return
    print(
        f"\n{'How the cost grows with the number of tracks':52}" + "".join(f"{size:>12,}" for size in sizes)
    )
    for figure, words, form in costs:
        for kind, figures in measured.items():
            cells = "".join(f"{figures[f'{figure}@{size}']:>12{form}}" for size in sizes)
            print(f"  {words + ', ' + KINDS[kind]:50}{cells}")
