export class TookTooLong extends Error {
  override readonly name = 'TookTooLong';
  readonly code = 'took_too_long';
}

/** What `work` gives, or `TookTooLong` after `ms`. The work itself is not stopped, and its late failure is swallowed. */
export async function before<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new TookTooLong(`no answer within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
