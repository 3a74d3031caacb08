// @ts-check

const SVG = 'http://www.w3.org/2000/svg';

/** Paths on a 20 × 20 grid, stroked with the colour of the text. */
const PATHS = {
  hash: ['M7.5 3.5 6 16.5', 'M14 3.5l-1.5 13', 'M3.5 7.5h13', 'M3 12.5h13'],
  lock: ['M5 9.5h10v7H5z', 'M7 9.5V7a3 3 0 0 1 6 0v2.5'],
  home: ['M3.5 9.5 10 4l6.5 5.5', 'M5.5 8.5v7.5h9V8.5'],
  eye: ['M2.5 10S5 5 10 5s7.5 5 7.5 5-2.5 5-7.5 5-7.5-5-7.5-5z', 'M10 8a2 2 0 1 0 0 4 2 2 0 0 0 0-4z'],
  close: ['M5 5l10 10', 'M15 5 5 15'],
  back: ['M12 4.5 6.5 10l5.5 5.5'],
  chevron: ['M6 8l4 4 4-4'],
  sun: [
    'M10 6.8a3.2 3.2 0 1 0 0 6.4 3.2 3.2 0 0 0 0-6.4z',
    'M10 2v1.8M10 16.2V18M2 10h1.8M16.2 10H18M4.3 4.3l1.3 1.3M14.4 14.4l1.3 1.3M15.7 4.3l-1.3 1.3M5.6 14.4l-1.3 1.3',
  ],
  moon: ['M16.5 11.8A7 7 0 1 1 8.2 3.5a5.6 5.6 0 0 0 8.3 8.3z'],
  send: ['M3.5 10 16.5 4l-4 12.5L9 11z', 'M9 11l7.5-7'],
  reply: ['M3.5 4.5h13v9h-7l-3.5 3v-3h-2.5z'],
  warning: ['M10 3.5 17.5 16h-15z', 'M10 8v4', 'M10 14v.2'],
  people: [
    'M7.5 9.5a2.6 2.6 0 1 0 0-5.2 2.6 2.6 0 0 0 0 5.2z',
    'M2.5 16c0-2.8 2.2-4.6 5-4.6s5 1.8 5 4.6',
    'M13 4.6a2.6 2.6 0 0 1 0 4.9',
    'M14.5 11.6c1.9.5 3 2.1 3 4.4',
  ],
  file: ['M5 2.8h6.5L15 6.3v10.9H5z', 'M11.3 3v3.5h3.5'],
  bin: ['M4 5.5h12', 'M8 5.5V4h4v1.5', 'M5.5 5.5 6.3 16.5h7.4l.8-11', 'M8.5 8.5v5M11.5 8.5v5'],
  check: ['M4 10.5l4 4 8-9'],
  link: [
    'M8.5 11.5a3 3 0 0 0 4.2 0l2.6-2.6a3 3 0 0 0-4.2-4.2l-1 1',
    'M11.5 8.5a3 3 0 0 0-4.2 0l-2.6 2.6a3 3 0 0 0 4.2 4.2l1-1',
  ],
};

/**
 * @param {keyof typeof PATHS} name
 * @returns {SVGElement}
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 20 20');
  svg.setAttribute('class', `icon icon-${name}`);
  svg.setAttribute('aria-hidden', 'true');
  for (const d of PATHS[name]) {
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('d', d);
    svg.append(path);
  }
  return svg;
}
