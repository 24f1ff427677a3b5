// The look of the report: phone width first, light and dark. Device colours keep their order and
// are told apart with impaired colour vision; numbers stand beside them everywhere.
#pragma once

namespace kvpool::bench {

inline constexpr char kReportStyle[] = R"(
:root{color-scheme:light dark;--page:#f9f9f7;--card:#fcfcfb;--ink:#0b0b0b;--soft:#52514e;--line:#e1e0d9;
--accent:#256abf;--warn:#8a5a00;--warn-page:#fdf3dc;
--device-1:#2a78d6;--device-2:#eb6834;--device-3:#1baf7a;--device-4:#eda100;
--device-5:#e87ba4;--device-6:#008300;--device-7:#4a3aa7;--device-8:#e34948}
@media (prefers-color-scheme:dark){:root{--page:#0d0d0d;--card:#1a1a19;--ink:#fff;--soft:#c3c2b7;--line:#2c2c2a;
--accent:#86b6ef;--warn:#f0c060;--warn-page:#2c2410;
--device-1:#3987e5;--device-2:#d95926;--device-3:#199e70;--device-4:#c98500;
--device-5:#d55181;--device-6:#008300;--device-7:#9085e9;--device-8:#e66767}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:68rem;margin:0 auto;padding:1.5rem 1rem 3rem}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 .5rem}
h2{font-size:1.15rem;margin:2.25rem 0 .5rem}
p{margin:.25rem 0 .75rem;max-width:46rem}
.soft,small,figcaption span{color:var(--soft)}
.lead{font-size:1.1rem}
.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:1rem}
.bars{display:grid;grid-template-columns:max-content 1fr;gap:.4rem .75rem;align-items:center}
.bars div{display:flex;align-items:center;gap:.5rem;min-width:0}
.bars i{display:block;height:1.1rem;min-width:2px;background:var(--soft);opacity:.55;border-radius:0 3px 3px 0}
.bars .own i{background:var(--accent);opacity:1}
.bars span{white-space:nowrap;font-variant-numeric:tabular-nums;font-size:.9rem}
.legend{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;list-style:none;margin:.5rem 0 1rem;padding:0}
.legend i{display:inline-block;width:.85rem;height:.85rem;border-radius:2px;margin-right:.4rem;vertical-align:-.1rem}
.legend .dashed{height:0;border-radius:0;border-top:2px dashed var(--ink);vertical-align:.25rem;width:1.2rem}
figure{margin:0 0 1rem;padding:1rem;background:var(--card);border:1px solid var(--line);border-radius:8px}
figcaption{margin-bottom:.5rem}
.plot{display:grid;grid-template-columns:2rem 1fr;font-size:.75rem;color:var(--soft)}
.plot svg{grid-column:2;width:100%;height:9.5rem;display:block;border-left:1px solid var(--soft);border-bottom:1px solid var(--soft);overflow:hidden}
.plot .y{grid-column:1;position:relative}
.plot .y span{position:absolute;right:.35rem;transform:translateY(50%);line-height:1}
.plot .x{grid-column:2;position:relative;height:1.3rem}
.plot .x span{position:absolute;top:.2rem;transform:translateX(-50%)}
.plot .unit{grid-column:1/3}
.plot .x-unit{grid-column:2;text-align:right}
.grid{stroke:var(--line);stroke-width:1;vector-effect:non-scaling-stroke}
.sum{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:6 4;vector-effect:non-scaling-stroke}
.area{stroke:var(--card);stroke-width:.75;vector-effect:non-scaling-stroke}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:8px;background:var(--card)}
table{border-collapse:collapse;width:100%;font-size:.875rem;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .6rem;text-align:right;white-space:nowrap;border-top:1px solid var(--line)}
thead th{border-top:0;color:var(--soft);font-weight:600}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:var(--card)}
tbody th{padding-top:.9rem}
.own td{font-weight:600}
.scroll+p{margin-top:.75rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1rem;margin:0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
@media (max-width:34rem){dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.5rem}}
.warning{background:var(--warn-page);border-left:4px solid var(--warn);padding:.5rem .75rem;margin:.5rem 0;border-radius:0 6px 6px 0}
)";

}  // namespace kvpool::bench
