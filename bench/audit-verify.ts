import { verifyAudit } from '../src/audit-files/verify.ts';
import {
  auditKeyPair,
  ChainForTests,
  directoryForTests,
  keysOf,
} from '../test/audit-files/sealed-directory.ts';

/** How fast an audit is verified: entries as approvals write them, a checkpoint for every 50. */
const ENTRIES = 400_000;
const A_CHECKPOINT_EACH = 50;

const { privateKey, publicKey } = auditKeyPair();
const { path, remove } = directoryForTests();
try {
  const chain = new ChainForTests({ root: path, chain: 'acme', key: privateKey });
  const detail = (seq: number) => ({
    person: `slack:T0ACME/U0${seq % 50}`,
    as: 'usergroup:S0SUPPORT',
    reason: 'Both customers wrote twice about the same thing',
    shown: 'ab'.repeat(32),
    termsDigest: 'cd'.repeat(32),
    decidedAt: 1_700_000_000_000 + seq,
    signature: 'e'.repeat(86),
  });
  for (let segment = 0; segment < 4; segment += 1) {
    chain.segment(1_700_000_000_000_000 + segment);
    for (let done = 0; done < ENTRIES / 4; done += A_CHECKPOINT_EACH) {
      chain.entries(A_CHECKPOINT_EACH, detail);
      chain.checkpoint();
    }
  }
  for (let round = 1; round <= 3; round += 1) {
    const [since, cpu] = [performance.now(), process.cpuUsage()];
    const report = verifyAudit(path, { keys: keysOf(publicKey) });
    const ms = performance.now() - since;
    const { user, system } = process.cpuUsage(cpu);
    const rate = Math.round((ENTRIES / ms) * 1_000).toLocaleString('en-US');
    // On a machine that does other things as well, this is what counts.
    const cpuRate = Math.round((ENTRIES / (user + system)) * 1_000_000).toLocaleString('en-US');
    const megabytes = Math.round(process.memoryUsage().rss / 1024 / 1024);
    console.log(
      `audit verify: ${report.verdict}, ${ENTRIES} entries in ${Math.round(ms)} ms: ${rate} entries/s, ${cpuRate} a second of CPU time (${megabytes} MB)`,
    );
    if (report.verdict !== 'intact') process.exitCode = 1;
  }
} finally {
  remove();
}
