// The grid of a dashboard, at 1280 pixels.
export const pageWidth = 1280;
export const headerHeight = 84;
const gap = 8;
const margin = 16;
const cell = 30;
const column = (pageWidth - 2 * margin - 23 * gap) / 24;

export const size = ({ w, h }) => ({ width: Math.floor(w * column + (w - 1) * gap), height: h * cell + (h - 1) * gap });
export const place = ({ x, y }) => ({ left: Math.round(margin + x * (column + gap)), top: headerHeight + y * (cell + gap) });
export const height = (panels) => Math.max(...panels.map((p) => place(p.gridPos).top + size(p.gridPos).height)) + margin;
