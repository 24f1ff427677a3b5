"""Tables, figures and the page, from the rows of a run."""
import json
import statistics

import page
import pairs

ABOUT = {"recompute": "plain vLLM, nothing stored", "fs": "vLLM's own tier, O_DIRECT",
         "kvpool": "kvpool.vllm, behind vLLM's host memory",
         "kvpool-direct": "kvpool.vllm, the direct path",
         "lmcache": "LMCache, fs_native as it comes", "lmcache-direct": "LMCache, fs_native with O_DIRECT",
         "lmcache-kvpool": "LMCache, kvpool.lmcache"}
BEDS = {"one": "One drive", "several": "Several unequal drives, slowed down by the kernel"}
COLUMNS = ("hit", "method", "TTFT s", "min", "max", "runs", "load s", "load GB/s", "CPU s", "recompute over it",
           "over fs", "in pairs")


def figures(rows, speeds):
    """The figures that a run is for. `speeds` of the several drives, bytes/s, fastest first."""
    hit = max((row["hit"] for row in rows), default=0)
    predicted = speeds[0] / sum(speeds)
    loads = [ratio / predicted for ratio in pairs.pairs(rows, "kvpool", "fs", "tier_s", {"bed": "several", "hit": hit})]
    found = [
        pairs.Figure("one drive: TTFT of kvpool over fs", pairs.pairs(
            rows, "kvpool", "fs", "ttft_s", {"bed": "one", "hit": hit}), at_most=1.05, least=20),
        pairs.Figure("one drive: load time of kvpool over fs", pairs.pairs(
            rows, "kvpool", "fs", "tier_s", {"bed": "one", "hit": hit})),
        pairs.Figure("one drive: TTFT of kvpool's direct path over its tier", pairs.pairs(
            rows, "kvpool-direct", "kvpool", "ttft_s", {"bed": "one", "hit": hit})),
        pairs.Figure("one drive: load time of kvpool's direct path over its tier", pairs.pairs(
            rows, "kvpool-direct", "kvpool", "tier_s", {"bed": "one", "hit": hit})),
        pairs.Figure("several drives: load time of kvpool over fs on the fastest, over the "
                     f"{predicted:.2f} that bandwidths say", loads, at_most=1.10),
        pairs.Figure("several drives: TTFT of kvpool over fs", pairs.pairs(
            rows, "kvpool", "fs", "ttft_s", {"bed": "several", "hit": hit}))]
    beds = {row["bed"] for row in rows}
    return [figure for figure in found if figure.ratios or any(figure.name.startswith(bed) for bed in beds)]


def median(rows, key):
    return statistics.median(row[key] for row in rows) if rows else None


def lines(rows, bed):
    """Texts of a bed's table: one line for each hit and method."""
    rows = [row for row in rows if row["bed"] == bed]
    recompute = median([row for row in rows if row["method"] == "recompute"], "ttft_s")
    for hit in sorted({row["hit"] for row in rows}):
        for method in [name for name in ABOUT if any(row["method"] == name and row["hit"] == hit for row in rows)]:
            mine = [row for row in rows if row["method"] == method and row["hit"] == hit]
            yield line(rows, mine, recompute)


def line(rows, mine, recompute):
    times, first = [row["ttft_s"] for row in mine], mine[0]
    over_fs = pairs.pairs(rows, first["method"], "fs", "ttft_s", {"hit": first["hit"]})
    found = pairs.spread(over_fs) if over_fs and first["method"] != "fs" else None
    loaded = [row for row in mine if row["tier_s"]]
    return (f"{first['hit']} % ({first['expected']})" if first["method"] != "recompute" else "none", first["method"],
            f"{statistics.median(times):.3f}", f"{min(times):.3f}", f"{max(times):.3f}", str(len(times)),
            f"{median(loaded, 'tier_s'):.3f}" if loaded else "-",
            f"{statistics.median(row['tier_bytes'] / row['tier_s'] for row in loaded) / 1e9:.3f}" if loaded else "-",
            f"{median(mine, 'cpu_s'):.2f}", f"{recompute / statistics.median(times):.2f}" if recompute else "-",
            f"{found['median']:.3f}" if found else "-", f"{found['low']:.3f}-{found['high']:.3f}" if found else "-")


def text_table(columns, entries):
    entries = [columns, *entries]
    widths = [max(len(entry[at]) for entry in entries) for at in range(len(columns))]
    return "\n".join("  ".join(cell.ljust(width) if at < 2 else cell.rjust(width)
                               for at, (cell, width) in enumerate(zip(entry, widths))) for entry in entries)


def show(found, rows):
    """Prints tables and figures. False where a figure is missed."""
    for bed, title in BEDS.items():
        entries = list(lines(rows, bed))
        if entries:
            print(f"\n{title}:\n{text_table(COLUMNS, entries)}")
    print()
    for figure in found:
        print(figure.line())
    return all(figure.met for figure in found)


def write(folder, header, found, rows, chosen):
    """ttft.json: the header, figures, rows; ttft.html: the page."""
    stored = [header, *(figure.row() for figure in found), *rows]
    (folder / "ttft.json").write_text(json.dumps(stored, indent=1) + "\n")
    (folder / "ttft.html").write_text(html(header, found, rows, chosen), encoding="utf-8")


def html(header, found, rows, chosen):
    parts = [page.paragraph("Time until vLLM gives the first token of a prompt, by where the KV of its first tokens "
                            "comes from: computed again, or loaded. All methods in one run, in turns, with the same "
                            "prompts; every answer is compared.", "lead"),
             page.table(("figure", "median", "half of the pairs", "all pairs", "pairs", "limit", ""),
                        [figure_texts(figure) for figure in found])]
    for bed, title in BEDS.items():
        entries = list(lines(rows, bed))
        if entries:
            parts += [page.heading(title), page.bars(largest_hit(rows, bed), "s"),
                      page.table(COLUMNS, entries, lambda entry: entry[1] == "kvpool")]
    parts += [page.dots(figure.name, figure.ratios) for figure in found if figure.ratios]
    parts += [page.heading("Loaders alone"), loader_table(rows)] if any("gb_per_s" in row for row in rows) else []
    parts += [page.paragraph(HOW_TO_READ, "soft"), page.definitions(
        [*((key, said(value)) for key, value in header.items()), ("drives", f"{chosen.drives} MB/s"),
         ("prompt", f"{chosen.tokens} tokens")])]
    return page.page("Time to first token", *parts)


def said(value):
    return ", ".join(f"{key} {each}" for key, each in value.items()) if isinstance(value, dict) else value


def figure_texts(figure):
    row = figure.row()
    if not figure.ratios:
        return (figure.name, "-", "-", "-", "0", figure.limit, "not measured")
    return (figure.name, f"{row['median']:.3f}", f"{row['quarter']:.3f}-{row['three_quarters']:.3f}",
            f"{row['low']:.3f}-{row['high']:.3f}", str(row["count"]), figure.limit, "" if figure.met else "missed")


def largest_hit(rows, bed):
    rows = [row for row in rows if row["bed"] == bed]
    hit = max(row["hit"] for row in rows)
    entries = []
    for name, about in ABOUT.items():
        mine = [row for row in rows if row["method"] == name and (row["hit"] == hit or name == "recompute")]
        if mine:
            entries.append((f"{name}: {about}", median(mine, "ttft_s"), name == "kvpool"))
    return entries


def loader_table(rows):
    found = [row for row in rows if "gb_per_s" in row]
    keys = dict.fromkeys((row["bed"], row["method"]) for row in found)
    entries = []
    for bed, method in keys:
        mine = [row for row in found if (row["bed"], row["method"]) == (bed, method)]
        entries.append((bed, method, f"{median(mine, 'gb_per_s'):.3f}", f"{median(mine, 'cpu_s_per_gib'):.3f}",
                        str(len(mine))))
    return page.table(("drives", "method", "GB/s", "CPU s/GiB", "runs"), entries, lambda entry: "kvpool" in entry[1])


HOW_TO_READ = (
    "TTFT: vLLM's own first_token_latency, medians; hit: the part of a prompt's chunks that is stored, and its tokens. "
    "load: vLLM's own transfer metrics of the tier. CPU: the engine's process for the whole answer, without LMCache's "
    "server. over fs: medians over pairs of the same round. vLLM copies between its cache and host memory by a plain "
    "copy here, since it refuses the processor for native offloading otherwise; LMCache copies through its own server.")
