// Written from docs/audit.md alone, by its words; imports nothing of Countersign. Whether a chain is intact, and no more.
import { createHash, createPublicKey, verify } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

const hashOf = (text: string) => createHash('sha256').update(text, 'latin1').digest('hex');

export function isIntact(directory: string, spki: Buffer): boolean {
  const chain = basename(directory);
  const key = createPublicKey({ key: spki, format: 'der', type: 'spki' });
  const read = (file: string) => readFileSync(join(directory, file), 'latin1').split('\n');
  const names = readdirSync(directory).flatMap(
    (file) => /^(\d{12}-\d{16})(?:\.checkpoints)?\.jsonl$/.exec(file)?.[1] ?? [],
  );
  const segments = [...new Set(names)]
    .map((name) => ({ name, first: Number(name.slice(0, 12)), fence: Number(name.slice(13)) }))
    .sort((a, b) => a.fence - b.fence || a.first - b.first);
  const hashes = [hashOf(`countersign/audit/1\n${chain}`)];
  const texts = [''];
  const beyond: { n: number; text: string; whole: boolean }[] = [];
  let known = ['0'.repeat(64)];
  let [seq, signed, marks] = [1, 0, 0];
  for (const [i, { name, first }] of segments.entries()) {
    if (first !== hashes.length) return false;
    const until = segments[i + 1]?.first ?? Number.POSITIVE_INFINITY;
    const lines = read(`${name}.jsonl`);
    for (const [at, text] of lines.entries()) {
      const [n, whole] = [first + at, at < lines.length - 1];
      if (n >= until && text !== '') beyond.push({ n, text, whole });
      if (n >= until || (!whole && text === '')) continue;
      if (!whole) return false;
      const hash = hashOf(text.replace(/"hash":"[0-9a-f]{64}",/, ''));
      if (!text.startsWith(`{"chain":{"hash":"${hash}","n":${n},"prev":"${hashes[n - 1]}"},"`)) return false;
      const { entry, note } = JSON.parse(Buffer.from(text, 'latin1').toString());
      if (note?.kind === 'gap') return false;
      if (entry && (entry.seq !== seq || entry.tenant !== (chain.startsWith('_s') ? '-' : chain)))
        return false;
      if (entry) seq += 1;
      hashes[n] = hash;
      texts[n] = text;
    }
    const checkpoints = read(`${name}.checkpoints.jsonl`);
    if (checkpoints.pop() !== '' && i === segments.length - 1) return false;
    let allowed = known;
    for (const [at, text] of checkpoints.entries()) {
      const { checkpoint, signature } = JSON.parse(text);
      const body = JSON.stringify(checkpoint);
      if (text !== `{"checkpoint":${body},"signature":"${signature}"}`) return false;
      if (!allowed.includes(checkpoint.prev) || checkpoint.chain !== chain || checkpoint.version !== 1)
        return false;
      if (hashes[checkpoint.count] !== checkpoint.head || checkpoint.count < Math.max(first - 1, at && marks))
        return false;
      allowed = [hashOf(text)];
      marks = checkpoint.count;
      if (at < checkpoints.length - 1) continue;
      const bytes = Buffer.from(signature, 'base64');
      const statement = Buffer.from(`countersign/audit-checkpoint/1\n${body}`, 'latin1');
      if (bytes.toString('base64') !== signature || !verify(null, statement, key, bytes)) return false;
      known = [...(signed > 0 ? known : []), hashOf(text), checkpoint.prev];
      signed = Math.max(signed, checkpoint.count);
    }
  }
  const fits = ({ n, text, whole }: (typeof beyond)[0]) =>
    whole ? texts[n] === text : texts[n]?.startsWith(text);
  return signed > 0 && signed === hashes.length - 1 && beyond.every(fits);
}
