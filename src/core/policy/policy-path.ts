/** Where something stands in a policy: keys of mappings and positions in lists, from the outermost inwards. */
export type PolicyPath = readonly (string | number)[];

/** `approvals.rules[0].quorum`, `resources["ticket.close"]`: injective, since a key with a dot in it is quoted. */
export function pathLabel(path: PolicyPath): string {
  let label = '';
  for (const part of path) {
    if (typeof part === 'number') label += `[${part}]`;
    else if (!/^[A-Za-z0-9_-]+$/.test(part)) label += `[${JSON.stringify(part)}]`;
    else label += label === '' ? part : `.${part}`;
  }
  return label;
}
