import { createHash, randomUUID } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { type CloseTicket, type NewEmail, type NewTicket, Ticket } from './ticket.ts';

/** Whom a token speaks for, and whether it may change anything. */
export const TokenScope = z.strictObject({
  tenant: z.string(),
  environment: z.string(),
  access: z.enum(['read', 'write']),
});
export type TokenScope = z.infer<typeof TokenScope>;

/** One write that happened. */
export const JournalEntry = z.strictObject({
  at: z.iso.datetime(),
  scope: TokenScope,
  write: z.enum(['ticket.close', 'ticket.create', 'email.send']),
  /** The id of the ticket or the email. */
  subject: z.string(),
  idempotencyKey: z.string(),
});
export type JournalEntry = z.infer<typeof JournalEntry>;

const Email = z.strictObject({
  id: z.string(),
  tenant: z.string(),
  environment: z.string(),
  at: z.iso.datetime(),
  to: z.string(),
  subject: z.string(),
  body: z.string(),
});
export type Email = z.infer<typeof Email>;

const State = z.strictObject({
  tickets: z.array(Ticket),
  emails: z.array(Email),
  journal: z.array(JournalEntry),
  /** By scope and key: what was asked, and what was answered to it. */
  answered: z.record(z.string(), z.strictObject({ asked: z.string(), answer: z.unknown() })),
});
type State = z.infer<typeof State>;

/** `forbidden`: the thing exists, and the token's scope is another one. */
export type Refusal = 'not_found' | 'forbidden' | 'already_closed' | 'key_reused';
export type Written<T> =
  | { readonly ok: true; readonly value: T; readonly replayed: boolean }
  | { readonly ok: false; readonly refusal: Refusal };
export type Found<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly refusal: 'not_found' | 'forbidden' };

/**
 * Everything in one JSON file. A write, its journal entry and the answer to its idempotency key are on the disk
 * together, before the answer is given.
 */
export class HelpDeskStore {
  readonly #path: string;
  readonly #now: () => Date;
  #state: State;

  /** The seed is for a directory that holds nothing yet. */
  constructor(directory: string, seed: readonly Ticket[], now: () => Date) {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    this.#path = join(directory, 'help-desk.json');
    this.#now = now;
    if (existsSync(this.#path)) {
      this.#state = State.parse(JSON.parse(readFileSync(this.#path, 'utf8')));
    } else {
      this.#state = { tickets: [...seed], emails: [], journal: [], answered: {} };
      this.#save(this.#state);
    }
  }

  tickets(scope: TokenScope, status: 'open' | 'closed' | undefined): Ticket[] {
    return this.#state.tickets.filter(
      (ticket) => within(ticket, scope) && (status === undefined || ticket.status === status),
    );
  }

  ticket(scope: TokenScope, id: string): Found<Ticket> {
    const ticket = this.#state.tickets.find((candidate) => candidate.id === id);
    if (!ticket) return { ok: false, refusal: 'not_found' };
    if (!within(ticket, scope)) return { ok: false, refusal: 'forbidden' };
    return { ok: true, value: ticket };
  }

  /** Of one scope's tenant and environment, or of all. */
  journal(scope?: TokenScope): JournalEntry[] {
    return this.#state.journal.filter((entry) => scope === undefined || within(entry.scope, scope));
  }

  closeTicket(scope: TokenScope, key: string, id: string, close: CloseTicket): Written<Ticket> {
    return this.#once(scope, key, ['ticket.close', id, close], Ticket, (state) => {
      const found = this.ticket(scope, id);
      if (!found.ok) return found;
      if (found.value.status === 'closed') return { ok: false, refusal: 'already_closed' };
      const value: Ticket = {
        ...found.value,
        status: 'closed',
        closed: { at: this.#now().toISOString(), ...close },
      };
      state.tickets = state.tickets.map((ticket) => (ticket.id === id ? value : ticket));
      return { ok: true, value, journal: ['ticket.close', id] };
    });
  }

  createTicket(scope: TokenScope, key: string, ticket: NewTicket): Written<Ticket> {
    return this.#once(scope, key, ['ticket.create', ticket], Ticket, (state) => {
      const value: Ticket = {
        id: `${scope.tenant.toUpperCase()}-NEW-${state.tickets.length + 1}`,
        tenant: scope.tenant,
        environment: scope.environment,
        ...ticket,
        status: 'open',
        createdAt: this.#now().toISOString(),
      };
      state.tickets = [...state.tickets, value];
      return { ok: true, value, journal: ['ticket.create', value.id] };
    });
  }

  /** Kept, never really sent. */
  sendEmail(scope: TokenScope, key: string, email: NewEmail): Written<Email> {
    return this.#once(scope, key, ['email.send', email], Email, (state) => {
      const value: Email = {
        id: `MAIL-${randomUUID()}`,
        tenant: scope.tenant,
        environment: scope.environment,
        at: this.#now().toISOString(),
        ...email,
      };
      state.emails = [...state.emails, value];
      return { ok: true, value, journal: ['email.send', value.id] };
    });
  }

  #once<T>(
    scope: TokenScope,
    idempotencyKey: string,
    asking: unknown,
    schema: z.ZodType<T>,
    change: (state: State) => Changed<T>,
  ): Written<T> {
    const name = JSON.stringify([scope.tenant, scope.environment, idempotencyKey]);
    const asked = createHash('sha256').update(JSON.stringify(asking)).digest('hex');
    const before = Object.hasOwn(this.#state.answered, name) ? this.#state.answered[name] : undefined;
    if (before) {
      if (before.asked !== asked) return { ok: false, refusal: 'key_reused' };
      return { ok: true, value: schema.parse(before.answer), replayed: true };
    }
    const state: State = { ...this.#state };
    const changed = change(state);
    if (!changed.ok) return changed;
    const [write, subject] = changed.journal;
    const entry: JournalEntry = { at: this.#now().toISOString(), scope, write, subject, idempotencyKey };
    state.journal = [...state.journal, entry];
    state.answered = { ...state.answered, [name]: { asked, answer: changed.value } };
    this.#save(state);
    this.#state = state;
    return { ok: true, value: changed.value, replayed: false };
  }

  #save(state: State): void {
    const beside = `${this.#path}.new`;
    writeFileSync(beside, JSON.stringify(state, undefined, 1), { mode: 0o600 });
    const file = openSync(beside, 'r+');
    try {
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(beside, this.#path);
  }
}

type Changed<T> =
  | { readonly ok: true; readonly value: T; readonly journal: readonly [JournalEntry['write'], string] }
  | { readonly ok: false; readonly refusal: Refusal };

function within(thing: { tenant: string; environment: string }, scope: TokenScope): boolean {
  return thing.tenant === scope.tenant && thing.environment === scope.environment;
}
