/** One fenced block of a page. */
export interface Block {
  /** What stands behind the fence: `yaml`, `yaml broken`, `ts`. */
  readonly info: string;
  readonly text: string;
  /** Of its first line of content, as editors count. */
  readonly line: number;
}

export function blocksOf(page: string): Block[] {
  return [...page.matchAll(/^```([^\n`]*)\n([\s\S]*?)^```$/gm)].map(
    ({ 1: info = '', 2: text = '', index }) => ({
      info: info.trim(),
      text,
      line: page.slice(0, index).split('\n').length + 1,
    }),
  );
}
