import type { ToolDefinition } from './tool.ts';

export class DuplicateTool extends Error {
  override readonly name = 'DuplicateTool';
  readonly code = 'duplicate_tool';

  constructor(tool: string) {
    super(`two tools are called ${tool}; a call could not say which one it means, so rename one`);
  }
}

/** The tools that exist. A Map, so that `constructor` or `__proto__` finds nothing, and exact bytes, so that `Db.write` doesn't either. */
export class ToolRegistry {
  readonly #tools = new Map<string, ToolDefinition>();

  /** @throws DuplicateTool */
  constructor(tools: Iterable<ToolDefinition>) {
    for (const tool of tools) {
      if (this.#tools.has(tool.name)) throw new DuplicateTool(tool.name);
      this.#tools.set(tool.name, tool);
    }
  }

  get(name: string): ToolDefinition | undefined {
    return this.#tools.get(name);
  }

  /** In the order of registration. */
  names(): string[] {
    return [...this.#tools.keys()];
  }

  [Symbol.iterator](): IterableIterator<ToolDefinition> {
    return this.#tools.values();
  }
}
