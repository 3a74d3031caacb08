import type { PersonId } from '../identity/ids.ts';
import type { ApproverDirectory } from './approver-directory.ts';

/**
 * Whether this account is one more of somebody in `others`. Only what the directory tells counts: accounts with two email
 * addresses are two people here. `cannot_check`: it did not answer, so it is not known.
 */
export async function isSecondAccountOf(
  directory: Pick<ApproverDirectory, 'emailOf'>,
  person: PersonId,
  others: readonly PersonId[],
): Promise<boolean | 'cannot_check'> {
  if (others.length === 0) return false;
  const own = await directory.emailOf(person);
  if (!own.ok) return 'cannot_check';
  const { email } = own;
  if (email === undefined) return false;
  const emails = await Promise.all(others.map((other) => directory.emailOf(other)));
  if (emails.some((other) => other.ok && other.email === email)) return true;
  return emails.every(({ ok }) => ok) ? false : 'cannot_check';
}
