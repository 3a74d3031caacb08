// An agent with a clock of its own: proposes what it reads from its input, one entry a line, and says what came of each.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

const { createGuardFrom, policyPath, toolsPath, redis, proposalKey, context } = JSON.parse(process.argv[2]);
const { createGuard } = await import(createGuardFrom);
const { tools } = await import(toolsPath);
const guard = createGuard({ policy: readFileSync(policyPath, 'utf8'), tools, redis, proposalKey });

function say(line) {
  process.stdout.write(`${JSON.stringify({ ...line, now: Date.now() })}\n`);
}

/** On a machine that is busy enough a permit lapses for a moment, or an answer is late: then an agent asks again. */
async function proposed(entry) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await guard.propose(
        { tool: 'ledger.write', args: { entry }, idempotencyKey: entry.replace(/\W/g, '-') },
        context,
      );
    } catch (error) {
      if (!['writes_disabled', 'unavailable'].includes(error.code) || tries === 40) throw error;
      await sleep(500);
    }
  }
}

async function call(entry) {
  try {
    const handle = await proposed(entry);
    say({ entry, proposed: handle.id });
    say({ entry, result: await handle.result() });
  } catch (error) {
    say({ entry, error: error.code ?? String(error) });
  }
}

for await (const entry of createInterface({ input: process.stdin })) void call(entry);
await guard.close();
