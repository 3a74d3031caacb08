import { z } from 'zod';
import { defineTool, type ToolDefinition } from '../src/core/tool/tool.ts';
import { supportTools } from '../src/sandbox/help-desk/support-tools.ts';

/** The demo's tools, and one whose answer is lost: for the picture of an outcome that nobody knows. */
export function pictureTools(helpDeskUrl: string): ToolDefinition[] {
  return [
    ...supportTools(helpDeskUrl),
    defineTool({
      name: 'invoice.correct',
      description: 'Corrects one line of an invoice.',
      effect: 'write',
      irreversible: false,
      idempotent: false,
      input: z.strictObject({ invoice: z.string(), line: z.int().positive(), amount: z.string() }),
      execute: () => Promise.reject(new Error('the connection broke before the billing system answered')),
    }),
  ];
}
