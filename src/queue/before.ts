export class TookTooLong extends Error {
  override readonly name = 'TookTooLong';
  readonly code = 'took_too_long';
}

/** What `work` gives, or `TookTooLong` after `ms`. The work itself is not stopped, and its late failure is swallowed. */
export async function before<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const giveUp = () => reject(new TookTooLong(`no answer within ${ms} ms`));
    // Where it was we who were busy, the answer has come and was not read yet: that happens between these two.
    timer = setTimeout(() => setImmediate(giveUp), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
