// @ts-check
import { el } from './dom.js';
import { icon } from './icons.js';

/** @typedef {import('../slack/person-interface.ts').SeenFile} SeenFile */

/**
 * The files under a message: name, size, and a way to keep them. Nothing of them is shown in the page.
 *
 * @param {readonly SeenFile[]} files
 * @param {{ team: string, user: string }} person
 */
export function renderFiles(files, person) {
  return el(
    'ul',
    { class: 'files', 'aria-label': 'Files' },
    ...files.map((file) => renderFile(file, person)),
  );
}

/** @param {SeenFile} file @param {{ team: string, user: string }} person */
function renderFile(file, person) {
  const size = sizeOf(file.size);
  const link = el(
    'a',
    { class: 'link', download: file.name, 'aria-label': `Download ${file.name}, ${size}` },
    'Download',
  );
  // Our own address with an id in it: nothing that an app wrote decides where this leads.
  link.href = `/sandbox/file?${new URLSearchParams({ ...person, file: file.id })}`;
  return el(
    'li',
    { class: 'file', 'data-file': file.id },
    el('span', { class: 'file-icon' }, icon('file')),
    el(
      'span',
      { class: 'file-what' },
      el('span', { class: 'file-title' }, file.title),
      el('span', { class: 'file-size' }, file.title === file.name ? size : `${file.name} · ${size}`),
    ),
    link,
  );
}

/** @param {number} bytes */
function sizeOf(bytes) {
  if (bytes < 1000) return bytes === 1 ? '1 byte' : `${bytes} bytes`;
  return bytes < 1_000_000 ? `${(bytes / 1000).toFixed(1)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`;
}
