/** What is thrown at Countersign, and what has to happen: the table of the design, as data. Each row has its file. */
export interface AttackRow {
  readonly row: number;
  readonly attack: string;
  readonly required: string;
}

/** Of each row's file: so many inputs at least are attacks, and so many are nearly the same and have to be accepted. */
export const ATTACKS_AT_LEAST = 12;
export const TWINS_AT_LEAST = 3;

export const ROWS: readonly AttackRow[] = [
  {
    row: 1,
    attack: 'Arguments, tool, tenant or environment are changed after approval.',
    required:
      'One deep copy to canonical bytes, sealed with a key outside Redis; the executor recomputes and refuses any difference, and judges again by the stricter of old and new.',
  },
  {
    row: 2,
    attack: 'An approval, a record or a job is replayed elsewhere or a second time.',
    required:
      'An approval names its proposal and nonce and is used once; a job carries an id alone; an unsealed record is refused with an alarm.',
  },
  {
    row: 3,
    attack:
      'One call is executed twice: two workers, stalled redelivery, a crash around dispatch, a timeout.',
    required: 'One durable intent, `unknown` on doubt, one stable idempotency key for the tool.',
  },
  {
    row: 4,
    attack: 'Slack delivers twice, somebody clicks twice or on two cards, an ack is lost.',
    required: 'A decision is keyed by proposal and person; the answer is the same each time.',
  },
  {
    row: 5,
    attack: 'A payload is forged: its signature, its time, its app, channel, card or actions.',
    required: 'Refused before anything is read from it; of a value nothing is acted on but an id.',
  },
  {
    row: 6,
    attack: 'Somebody clicks who may not decide: a stranger, guest, bot, the requester, his second account.',
    required: 'Refused at the click and again at admission; a call without a principal is refused.',
  },
  {
    row: 7,
    attack: 'A quorum is raced, or one person counts twice.',
    required: 'Approvals are a set of signatures and no counter; a denial is final.',
  },
  {
    row: 8,
    attack:
      'What is shown is not what runs: truncation, floods, markup, invisible letters, imitated wording.',
    required: 'Shown whole or not approvable; the invisible is made visible; our wording cannot be imitated.',
  },
  {
    row: 9,
    attack: 'Two parsers read the arguments differently.',
    required: 'A strict parser before any schema refuses what is malformed or over the limits.',
  },
  {
    row: 10,
    attack: 'A tenant is smuggled in: in the arguments, nested, encoded, in metadata or headers.',
    required: 'Refused also where it equals the context; credentials are the tenant’s own.',
  },
  {
    row: 11,
    attack: 'The environment is confused: spelling, case, spaces, in the arguments.',
    required: 'Exact names; the environment is in the digest, on the card and in the choice of credentials.',
  },
  {
    row: 12,
    attack: 'A tool’s name or its annotations lie.',
    required: 'Exact bytes; the effect comes from the registered definition alone.',
  },
  {
    row: 13,
    attack: 'People are flooded or nagged, or one bad call hides among many.',
    required: 'Caps, one proposal for the same call, a cooldown after a denial, no blind approval in bulk.',
  },
  {
    row: 14,
    attack: 'A budget is raced, sliced, gone round by another tool, or its counter is deleted.',
    required: 'Reserved in one step at the proposal; integers; a missing counter is not zero.',
  },
  {
    row: 15,
    attack: 'The switch is raced, stale, flushed, unreadable or garbage.',
    required: 'Closed.',
  },
  {
    row: 16,
    attack: 'The slash command is typed strangely, replayed, or by somebody who may not.',
    required: '`off` is forgiving, `on` is strict; answered only after the durable write.',
  },
  {
    row: 17,
    attack: 'Names carry what Redis keys are made of.',
    required: 'Names by a strict pattern; keys are built in one place, no two alike.',
  },
  {
    row: 18,
    attack: 'Text is made for the log, the spreadsheet or the terminal that shows it.',
    required: 'One line of JSON, control characters escaped, cells made safe.',
  },
  {
    row: 19,
    attack: 'Secrets turn up in Slack, logs, the queue, the audit or errors.',
    required: 'Redacted by declared fields and by value; credentials are in no job.',
  },
  {
    row: 20,
    attack: 'A tool that fetches is made to fetch from inside.',
    required:
      'The URL that is shown is the one that is called; https; no private range after resolving; no redirects.',
  },
  {
    row: 21,
    attack: 'A pattern of the policy never ends.',
    required: 'A linear engine or none.',
  },
  {
    row: 22,
    attack: 'The policy’s YAML says something else than it seems to.',
    required: 'A strict schema of plain YAML 1.2; a broken reload keeps the last good policy.',
  },
  {
    row: 23,
    attack: 'The clocks of processes differ.',
    required: 'The time of Redis is the one clock of deadlines; intervals are half-open.',
  },
  {
    row: 24,
    attack: 'The audit is deleted, cut, reordered, hashed anew, forked or rolled back.',
    required: 'An offline verifier names the first bad entry; a failed audit write refuses the action.',
  },
  {
    row: 25,
    attack: 'The channel is gone, archived, renamed, shared with another company, or the bot is not in it.',
    required: 'Never approved; the agent is told clearly, and so are operators.',
  },
  {
    row: 26,
    attack: 'The way round: the tool called directly, approved without a click, a guard that throws.',
    required: 'No credential outside the executor; every exception refuses.',
  },
];
