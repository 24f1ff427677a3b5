"""Ratios of two methods that ran in turns, over pairs of the same round; and figures with their limits. No I/O."""
import dataclasses
import statistics


def pairs(rows, over, under, key, where=None):
    """row[key] of method `over` by that of `under`, for each round that has both, rounds in order.

    `where`: fields and the values that rows must have. ValueError where a method has two rows of one round.
    """
    values = {}
    for row in rows:
        if row["method"] in (over, under) and all(row.get(field) == value for field, value in (where or {}).items()):
            place = (row["round"], row["method"])
            if place in values:
                raise ValueError(f"{row['method']} ran twice in round {row['round']}")
            values[place] = row[key]
    rounds = sorted({at for at, _ in values})
    return [values[at, over] / values[at, under] for at in rounds if (at, over) in values and (at, under) in values]


def spread(values):
    """median, low, high, and the quartiles of one or more values."""
    low, _, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "quarter": low,
            "three_quarters": high, "count": len(values)}


@dataclasses.dataclass
class Figure:
    """A ratio beside what it is to reach. `at_most` or `at_least` bounds the median; neither: it is shown only.

    `least`: with fewer ratios it is not met, whatever they are.
    """
    name: str
    ratios: list
    at_most: float | None = None
    at_least: float | None = None
    least: int = 1

    @property
    def limit(self):
        if self.at_most is not None:
            return f"at most {self.at_most:.3g}"
        return "shown" if self.at_least is None else f"at least {self.at_least:.3g}"

    @property
    def met(self):
        if not self.ratios or len(self.ratios) < self.least:
            return False
        median = statistics.median(self.ratios)
        return (self.at_most is None or median <= self.at_most) and (self.at_least is None or median >= self.at_least)

    def row(self):
        return {"bench": "figure", **dataclasses.asdict(self), "limit": self.limit, "met": self.met,
                **(spread(self.ratios) if self.ratios else {"count": 0})}

    @classmethod
    def of(cls, row):
        """The figure that gave the row."""
        return cls(**{field.name: row[field.name] for field in dataclasses.fields(cls)})

    def line(self):
        """One line of text; one that is missed says so."""
        if not self.ratios:
            return f"{self.name}: {self.limit}: not measured"
        found = spread(self.ratios)
        few = f", {self.least} are asked for" if found["count"] < self.least else ""
        return (f"{self.name}: {found['median']:.3f} (half of {found['count']} pairs in {found['quarter']:.3f} to "
                f"{found['three_quarters']:.3f}, all in {found['low']:.3f} to {found['high']:.3f}{few}); {self.limit}"
                f"{'' if self.met else ': MISSED'}")
