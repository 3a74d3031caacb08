import { BlockList, isIP } from 'node:net';

/** IANA's special-purpose registry of IPv4, multicast, the reserved rest, and one address that a cloud answers on. */
const NOT_PUBLIC_4 = subnets('ipv4', [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.31.196.0', 24],
  ['192.52.193.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['192.175.48.0', 24],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
  // Azure's host: a public address that every machine there reaches inside, with its metadata.
  ['168.63.129.16', 32],
]);

/** All that is given out for the public. Outside of it lie loopback, mapped and translated IPv4, fc00, fe80, fec0, ff00. */
const GLOBAL_6 = subnets('ipv6', [['2000::', 3]]);

/** Within it: protocol assignments with Teredo and ORCHID, documentation twice, 6to4. */
const NOT_PUBLIC_6 = subnets('ipv6', [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['2620:4f:8000::', 48],
  ['3fff::', 20],
]);

/** True for an address of the public internet, in the one spelling of its family that a resolver answers in. */
export function isPublicAddress(address: string): boolean {
  switch (isIP(address)) {
    case 4:
      return !NOT_PUBLIC_4.check(address, 'ipv4');
    case 6:
      // A zone names an interface of this machine.
      return (
        !address.includes('%') && GLOBAL_6.check(address, 'ipv6') && !NOT_PUBLIC_6.check(address, 'ipv6')
      );
    default:
      return false;
  }
}

function subnets(family: 'ipv4' | 'ipv6', ranges: readonly (readonly [string, number])[]): BlockList {
  const list = new BlockList();
  for (const [network, prefix] of ranges) list.addSubnet(network, prefix, family);
  return list;
}
