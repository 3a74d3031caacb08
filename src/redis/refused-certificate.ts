import type { EventEmitter } from 'node:events';

const TRUST =
  'start this process with NODE_EXTRA_CA_CERTS=/path/to/ca.pem, the certificate of the authority that signed it';

/** By the codes of node:tls. */
const WHY: Readonly<Record<string, string>> = {
  SELF_SIGNED_CERT_IN_CHAIN: `is signed by an authority that this process does not trust: ${TRUST}`,
  DEPTH_ZERO_SELF_SIGNED_CERT: `is signed by itself, and this process does not trust it: ${TRUST}`,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: `is signed by an authority that this process does not trust: ${TRUST}`,
  UNABLE_TO_GET_ISSUER_CERT: `is signed by an authority that this process does not trust: ${TRUST}`,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: `is signed by an authority that this process does not trust: ${TRUST}`,
  CERT_HAS_EXPIRED: 'has expired: renew it',
  CERT_NOT_YET_VALID: 'is not valid yet: look at the clocks',
  ERR_TLS_CERT_ALTNAME_INVALID:
    'is for another name: put the name or the address that is connected to into its subjectAltName, or let Sentinels and nodes announce the name that stands there',
};

/**
 * In words, what is wrong with the certificate that somebody who was connected to has shown, and what to do. Undefined where
 * the error tells of something else.
 */
export function certificateProblem(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if (!('code' in error) || typeof error.code !== 'string') return certificateProblem(error.cause);
  const why = Object.hasOwn(WHY, error.code) ? WHY[error.code] : undefined;
  if (why === undefined) return certificateProblem(error.cause);
  // Which names it is for, and for which it is not.
  const names = 'reason' in error && typeof error.reason === 'string' ? ` ${error.reason}` : '';
  return `its certificate ${why} (${error.code}${names})`;
}

const problems = new WeakMap<EventEmitter, string>();

/** From now on it is remembered of this connection, until it stands. ioredis itself says of a command only that it was too late. */
export function rememberRefusedCertificates(connection: EventEmitter, event = 'error'): void {
  connection.on(event, (error: unknown) => {
    const problem = certificateProblem(error);
    if (problem !== undefined) problems.set(connection, problem);
  });
  connection.on('ready', () => problems.delete(connection));
}

/** Why this connection does not stand, where a certificate is why. */
export function refusedCertificate(connection: EventEmitter): string | undefined {
  return problems.get(connection);
}
