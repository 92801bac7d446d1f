#!/usr/bin/env python3
"""Draws what a terminal of 80 columns shows as an SVG.

Used for demo.svg: run `pagekeeper demo` in tmux at 80x24, then
`tmux capture-pane -p | docs/images/draw-terminal.py > docs/images/demo.svg`.
"""

import html
import sys

COLUMN, LINE, COLUMNS, MARGIN, TOP = 8.43, 18, 80, 16, 48

lines = sys.stdin.read().rstrip("\n").split("\n")
while lines and lines[-1].strip() in ("", "$"):
    lines.pop()
width = int(COLUMNS * COLUMN + 2 * MARGIN)
height = TOP + len(lines) * LINE

print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
      f'viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(lines[-1])}">')
print('<rect width="100%" height="100%" rx="8" fill="#1b1f27"/>')
print('<g fill="#5c6370"><circle cx="20" cy="18" r="5"/><circle cx="38" cy="18" r="5"/>'
      '<circle cx="56" cy="18" r="5"/></g>')
print('<g font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="14" fill="#d7dae0">')
for number, line in enumerate(lines):
    if not line.strip():
        continue
    colour = ' fill="#98c379"' if "is equal" in line else ' fill="#61afef"' if line[0] == "$" else ""
    text = html.escape(line).replace(" ", "\u00a0")
    print(f'<text x="{MARGIN}" y="{TOP + number * LINE}" textLength="{len(line) * COLUMN:.0f}" '
          f'lengthAdjust="spacingAndGlyphs"{colour}>{text}</text>')
print("</g>")
print("</svg>")
