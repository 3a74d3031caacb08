import { describe, expect, it } from 'vitest';
import { loadPolicyOrThrow } from '../../../src/core/policy/policy-load.ts';
import { PolicyHolder } from '../../../src/core/policy/policy-source.ts';
import { GROWN, TOOLS } from './policies.ts';

const first = () => loadPolicyOrThrow(GROWN, { tools: TOOLS, fileName: 'policy.yaml' });

describe('the policy of a running process', () => {
  it('is replaced by a sound one', () => {
    const holder = new PolicyHolder(first());
    const before = holder.current.version;
    expect(holder.replace(GROWN.replace('enabled: true', 'enabled: false'), TOOLS)).toEqual({
      ok: true,
      changed: true,
    });
    expect(holder.current.policy.write_tools.enabled).toBe(false);
    expect(holder.current.version).not.toBe(before);
  });

  it('stays as it was when the new one is broken, and says everything that is wrong with it', () => {
    const holder = new PolicyHolder(first());
    const { current } = holder;
    const replaced = holder.replace(
      GROWN.replace('enabled: true', 'enabled: on').replace('quorum: 2', 'quorum: 0'),
      TOOLS,
    );
    expect(replaced).toMatchObject({ ok: false, problems: [{ line: 5 }, { line: 16 }] });
    expect(holder.current).toBe(current);
    expect(holder.replace('', TOOLS)).toMatchObject({ ok: false });
    expect(holder.current).toBe(current);
  });

  it('is not changed by the same bytes, and is by any other ones', () => {
    const holder = new PolicyHolder(first());
    expect(holder.replace(GROWN, TOOLS)).toEqual({ ok: true, changed: false });
    expect(holder.replace(`${GROWN}# reviewed\n`, TOOLS)).toEqual({ ok: true, changed: true });
  });

  it('is held to the tools that there are', () => {
    const holder = new PolicyHolder(first());
    const fewer = TOOLS.filter(({ name }) => name !== 'db.write');
    expect(holder.replace(GROWN, fewer)).toMatchObject({ ok: false, problems: [{ line: 3 }, { line: 13 }] });
  });
});
