// @ts-check

/** @typedef {Node | string | null | undefined | false} Child */
/** @typedef {string | number | boolean | undefined | ((event: any) => void)} AttributeValue */

/**
 * The one way in which this page makes elements. Strings become text nodes, so what an agent or an app wrote can never
 * become markup; `href` is refused here, because an address must pass `linkTo` first.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, AttributeValue>} [attributes] a function is a listener: `{ onclick: … }`
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    if (typeof value === 'function') {
      element.addEventListener(name.replace(/^on/, ''), value);
    } else if (/^(href|src|srcdoc|style|on.*)$/.test(name)) {
      throw new TypeError(`The attribute ${name} does not come from data`);
    } else {
      element.setAttribute(name, value === true ? '' : String(value));
    }
  }
  element.append(...children.filter(isNode));
  return element;
}

/** @param {Child} child @returns {child is Node | string} */
const isNode = (child) => child !== null && child !== undefined && child !== false;

const LINKABLE = new Set(['http:', 'https:', 'mailto:']);

/**
 * A link, or the bare text where the address is not one that Slack would open (`javascript:`, `data:` …).
 *
 * @param {string} address
 * @param {...Child} children
 * @returns {HTMLElement}
 */
export function linkTo(address, ...children) {
  let url;
  try {
    url = new URL(address);
  } catch {
    return el('span', {}, ...children);
  }
  if (!LINKABLE.has(url.protocol)) return el('span', {}, ...children);
  const link = el(
    'a',
    { class: 'link', target: '_blank', rel: 'noopener noreferrer', title: url.href },
    ...children,
  );
  link.href = url.href;
  return link;
}

/** @param {string} id @returns {HTMLElement} */
export function byId(id) {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`index.html has no #${id}`);
  return element;
}
