// Agents that go on for as long as their input is open, each kind of call in lanes of its own: one that the policy
// allows, one that people decide, one that nobody decides in time, one that is taken back. Says what is to be decided,
// and in the end how many of each there were.
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const { createGuardFrom, policyPath, toolsPath, redis, proposalKey, context } = JSON.parse(process.argv[2]);
const { createGuard } = await import(createGuardFrom);
const { tools } = await import(toolsPath);
const guard = createGuard({ policy: readFileSync(policyPath, 'utf8'), tools, redis, proposalKey });

const counts = {};
let going = true;
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

async function lane(kind, pauseMs, each) {
  for (let i = 0; going; i += 1) {
    const entry = `${kind}-${Math.random().toString(36).slice(2)}`;
    let came = 'succeeded';
    try {
      // Agents come and go: each is another one after a while.
      await each(entry, { ...context, agent: `${kind}-${Math.floor(i / 3)}` });
    } catch (error) {
      came = error.code ?? String(error);
    }
    counts[`${kind} ${came}`] = (counts[`${kind} ${came}`] ?? 0) + 1;
    if (came === 'writes_disabled') await sleep(200);
    await sleep(pauseMs);
  }
}

const lanes = [
  ...Array.from({ length: 6 }, () =>
    lane('noted', 10, (entry, who) => guard.call({ tool: 'ledger.note', args: { entry } }, who)),
  ),
  ...Array.from({ length: 2 }, () =>
    lane('decided', 4_000, async (entry, who) => {
      const handle = await guard.propose({ tool: 'ledger.write', args: { entry } }, who);
      say({ propose: handle.id });
      await handle.result();
    }),
  ),
  ...Array.from({ length: 3 }, () =>
    lane('expired', 500, async (entry, who) => {
      const handle = await guard.propose({ tool: 'ledger.slip', args: { entry } }, who);
      await handle.result();
    }),
  ),
  lane('withdrawn', 5_000, async (entry, who) => {
    const handle = await guard.propose({ tool: 'ledger.slip', args: { entry } }, who);
    await handle.withdraw();
  }),
];

process.stdin.on('end', () => {
  going = false;
});
process.stdin.resume();
await Promise.all(lanes);
say({ counts });
await guard.close();
