import type { PolicyPath } from './policy-path.ts';

/** A policy's text as values that still know where they stand: `at` is an offset into the text. */
export type PolicyTree = { readonly at: number } & (
  | { readonly kind: 'scalar'; readonly value: unknown }
  /** Something that a policy may not hold; the problem is reported, the value is nobody's guess. */
  | { readonly kind: 'refused' }
  | { readonly kind: 'list'; readonly children: readonly PolicyChild[] }
  | { readonly kind: 'map'; readonly children: readonly PolicyChild[] }
);

export interface PolicyChild {
  /** A key, or the position that the text gave it: leaving items out does not renumber what people read. */
  readonly name: string | number;
  readonly at: number;
  readonly tree: PolicyTree;
}

/** The plain value, as a schema takes it. */
export function plainValue(tree: PolicyTree): unknown {
  switch (tree.kind) {
    case 'scalar':
      return tree.value;
    case 'refused':
      return undefined;
    case 'list':
      return tree.children.map((child) => plainValue(child.tree));
    case 'map':
      return Object.fromEntries(tree.children.map((child) => [child.name, plainValue(child.tree)]));
  }
}

export interface Located {
  /** The path with the positions that the text gave its items. */
  readonly path: PolicyPath;
  /** Where the value, or what comes nearest to it, stands. */
  readonly at: number;
  /** Undefined where the path leads past what the text says. */
  readonly tree: PolicyTree | undefined;
}

/** Finds what a path over the plain value means in the text. */
export function locate(root: PolicyTree, path: PolicyPath): Located {
  const found: (string | number)[] = [];
  let tree: PolicyTree | undefined = root;
  let at = root.at;
  for (const part of path) {
    const child: PolicyChild | undefined = tree === undefined ? undefined : childOf(tree, part);
    found.push(child?.name ?? part);
    if (child !== undefined) at = child.at;
    tree = child?.tree;
  }
  return { path: found, at, tree };
}

function childOf(tree: PolicyTree, part: string | number): PolicyChild | undefined {
  if (tree.kind === 'map') return tree.children.find((child) => child.name === part);
  return tree.kind === 'list' && typeof part === 'number' ? tree.children[part] : undefined;
}

/** The tree with the given nodes replaced, or left out where undefined takes their place. */
export function mend(
  tree: PolicyTree,
  replacements: ReadonlyMap<PolicyTree, PolicyTree | undefined>,
): PolicyTree {
  if (tree.kind !== 'list' && tree.kind !== 'map') return tree;
  const children = tree.children.flatMap((child): PolicyChild[] => {
    if (!replacements.has(child.tree)) return [{ ...child, tree: mend(child.tree, replacements) }];
    const replacement = replacements.get(child.tree);
    return replacement === undefined ? [] : [{ ...child, tree: replacement }];
  });
  return { ...tree, children };
}

/** Every path that the text says something at, with where and what it says there. */
export function* everyPlace(
  tree: PolicyTree,
  path: PolicyPath = [],
): Generator<{ readonly path: PolicyPath; readonly at: number; readonly tree: PolicyTree }> {
  if (tree.kind !== 'list' && tree.kind !== 'map') return;
  for (const child of tree.children) {
    const childPath = [...path, child.name];
    yield { path: childPath, at: child.at, tree: child.tree };
    yield* everyPlace(child.tree, childPath);
  }
}

/** Which parts of a policy were left out for being broken, so that nothing is concluded from their absence. */
export class Damage {
  readonly #broken: readonly PolicyPath[];
  readonly #mended: PolicyTree;

  /** `broken` as the text counts positions, `mended` the tree that paths are asked about. */
  constructor(broken: readonly PolicyPath[], mended: PolicyTree) {
    this.#broken = broken;
    this.#mended = mended;
  }

  /** Whether something at, above or below any of the paths is missing. */
  touches(...paths: readonly PolicyPath[]): boolean {
    return paths.some((path) => {
      const origin = locate(this.#mended, path).path;
      return this.#broken.some((broken) => leads(broken, origin) || leads(origin, broken));
    });
  }

  /** Whether some tenant, or what environments it has, is missing. */
  hidesTenants(): boolean {
    return this.#broken.some(
      ([section, , part]) => section === 'tenants' && (part === undefined || part === 'environments'),
    );
  }
}

/** Whether the first path is the second one or leads to it. */
export function leads(outer: PolicyPath, inner: PolicyPath): boolean {
  return outer.every((part, index) => inner[index] === part);
}
