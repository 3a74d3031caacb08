import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { isIPv4 } from 'node:net';

/** A certificate and its key, as PEM. */
export interface Certificate {
  readonly certificate: string;
  readonly key: string;
}

/** When a certificate is good, counted from now. */
interface Validity {
  readonly fromMs: number;
  readonly untilMs: number;
}

const HOUR_BEFORE_TO_DAY_AFTER: Validity = { fromMs: -3_600_000, untilMs: 86_400_000 };

/** Signs the certificates of servers. Its own certificate is what whoever connects is given. */
export class AuthorityForTests {
  readonly certificate: string;
  readonly #name: string;
  readonly #key: KeyObject;

  constructor(name: string) {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    this.#name = name;
    this.#key = privateKey;
    this.certificate = this.#signed(name, publicKey, extension('551d13', sequence(TRUE), 'critical'));
  }

  /** @param names that a server answers to: host names, and addresses (IPv4). */
  issue(names: readonly string[], valid: Validity = HOUR_BEFORE_TO_DAY_AFTER): Certificate {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const subjectAltName = sequence(
      ...names.map((name) =>
        isIPv4(name) ? der(0x87, Buffer.from(name.split('.').map(Number))) : der(0x82, Buffer.from(name)),
      ),
    );
    return {
      certificate: this.#signed('a server', publicKey, extension('551d11', subjectAltName), valid),
      key: String(privateKey.export({ type: 'pkcs8', format: 'pem' })),
    };
  }

  /** RFC 5280, 4.1: version 3. */
  #signed(
    subject: string,
    publicKey: KeyObject,
    extensions: Buffer,
    { fromMs, untilMs } = HOUR_BEFORE_TO_DAY_AFTER,
  ): string {
    const toSign = sequence(
      der(0xa0, der(0x02, Buffer.of(2))),
      der(0x02, Buffer.concat([Buffer.of(1), randomBytes(8)])),
      ECDSA_WITH_SHA256,
      distinguishedName(this.#name),
      sequence(time(fromMs), time(untilMs)),
      distinguishedName(subject),
      publicKey.export({ type: 'spki', format: 'der' }),
      der(0xa3, sequence(extensions)),
    );
    const signature = sign('sha256', toSign, this.#key);
    const bytes = sequence(toSign, ECDSA_WITH_SHA256, der(0x03, Buffer.concat([Buffer.of(0), signature])));
    const lines = bytes.toString('base64').match(/.{1,64}/g) ?? [];
    return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n');
  }
}

/* ---- ASN.1, as much of it as a certificate is made of ---- */

/** Tag, length, value. */
function der(tag: number, value: Buffer): Buffer {
  const { length } = value;
  const head = length < 0x80 ? [tag, length] : [tag, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from(head), value]);
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return der(0x30, Buffer.concat(parts));
}

const TRUE = der(0x01, Buffer.of(0xff));
const ECDSA_WITH_SHA256 = sequence(der(0x06, Buffer.from('2a8648ce3d040302', 'hex')));

/** With a common name alone. */
function distinguishedName(name: string): Buffer {
  const commonName = sequence(der(0x06, Buffer.from('550403', 'hex')), der(0x0c, Buffer.from(name)));
  return sequence(der(0x31, commonName));
}

function extension(id: string, value: Buffer, critical?: 'critical'): Buffer {
  return sequence(
    der(0x06, Buffer.from(id, 'hex')),
    ...(critical === undefined ? [] : [TRUE]),
    der(0x04, value),
  );
}

function time(fromNowMs: number): Buffer {
  const text = new Date(Date.now() + fromNowMs).toISOString().replace(/[-:T]|\.\d+/g, '');
  return der(0x18, Buffer.from(text));
}
