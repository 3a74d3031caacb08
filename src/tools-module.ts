import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { z } from 'zod';
import type { ToolDefinition } from './core/tool/tool.ts';
import { ToolRegistry } from './core/tool/tool-registry.ts';

export class ToolsModuleInvalid extends Error {
  override readonly name = 'ToolsModuleInvalid';
  readonly code = 'tools_module_invalid';
}

/**
 * The host's own module, named by COUNTERSIGN_TOOLS: `export const tools = [defineTool(…), …]`.
 * @throws ToolsModuleInvalid, DuplicateTool
 */
export async function loadTools(path: string): Promise<ToolRegistry> {
  let module: unknown;
  try {
    module = await import(pathToFileURL(resolve(path)).href);
  } catch (cause) {
    throw new ToolsModuleInvalid(`the tools module ${path} cannot be loaded: ${String(cause)}`, { cause });
  }
  const tools = ToolsModule.safeParse(module);
  if (!tools.success) {
    throw new ToolsModuleInvalid(
      `the tools module ${path} must export \`tools\`, an array of what defineTool() returns`,
    );
  }
  return new ToolRegistry(tools.data.tools);
}

/** By shape and not by identity: the host may have its own copy of this package. */
const ToolsModule = z.looseObject({
  tools: z.array(
    z.custom<ToolDefinition>(
      (tool) =>
        typeof tool === 'object' &&
        tool !== null &&
        Object.isFrozen(tool) &&
        'inputSchema' in tool &&
        'execute' in tool &&
        typeof tool.execute === 'function',
    ),
  ),
});
