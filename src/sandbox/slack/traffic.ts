const KEPT = 5000;

/** One thing that passed between the app and this Slack. Tokens and signatures are not kept. */
export type Passage =
  | {
      kind: 'api';
      at: number;
      method: string;
      /** The team of the token, null for an app-level or unknown one. */
      team: string | null;
      body: Record<string, unknown>;
      status: number;
      result: unknown;
      /** The app never saw the result (fault `loseReply`). */
      lost: boolean;
    }
  | { kind: 'delivery'; at: number; type: string; team: string; payload: unknown; outcome: unknown }
  | { kind: 'response_url'; at: number; team: string; body: unknown; result: unknown };

/** The newest few thousand passages, for tests. */
export class Traffic {
  #passages: Passage[] = [];

  add(passage: Passage): void {
    this.#passages.push(passage);
    if (this.#passages.length > KEPT) this.#passages = this.#passages.slice(-KEPT / 2);
  }

  get all(): readonly Passage[] {
    return this.#passages;
  }

  calls(method?: string): Extract<Passage, { kind: 'api' }>[] {
    return this.#passages.filter(
      (passage) => passage.kind === 'api' && (method === undefined || passage.method === method),
    ) as Extract<Passage, { kind: 'api' }>[];
  }

  deliveries(type?: string): Extract<Passage, { kind: 'delivery' }>[] {
    return this.#passages.filter(
      (passage) => passage.kind === 'delivery' && (type === undefined || passage.type === type),
    ) as Extract<Passage, { kind: 'delivery' }>[];
  }

  clear(): void {
    this.#passages = [];
  }
}
