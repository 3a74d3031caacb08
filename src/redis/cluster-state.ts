/** What a master of a Cluster says: of the Cluster, and of itself. */
export interface MasterView {
  /** As the client knows it. */
  readonly name: string;
  /** It takes nothing at all: it hears too few of the other masters, or slots have no master and it wants all of them served. */
  readonly failing: boolean;
  /** That it serves itself, inclusive. */
  readonly slots: readonly (readonly [from: number, to: number])[];
}

/** The slot of a shard, and the master that the client sends its commands to. */
export interface ShardPlace {
  readonly shard: number;
  readonly slot: number;
  readonly holder: string | undefined;
}

/** From CLUSTER INFO and CLUSTER NODES. */
export function masterView(name: string, info: string, nodes: string): MasterView {
  // `<id> <address> myself,master - 0 0 <epoch> connected 0-5460 …`, and `[93->-<id>]` for a slot on its way.
  const myself = nodes.split('\n').find((line) => line.split(' ')[2]?.split(',').includes('myself'));
  const ranges = myself?.trim().split(' ').slice(8) ?? [];
  return {
    name,
    failing: /^cluster_state:fail/m.test(info),
    slots: ranges
      .filter((range) => !range.startsWith('['))
      .map((range) => {
        const [from = '', to = from] = range.split('-');
        return [Number(from), Number(to)] as const;
      }),
  };
}

/**
 * Sentences for people: which masters take nothing, and which of our shards have no master. A client would not notice: what
 * it heard of a slot once it believes until it hears of another holder.
 */
export function notServing(views: readonly MasterView[], places: readonly ShardPlace[]): string[] {
  const failing = views
    .filter((view) => view.failing)
    .map(
      ({ name }) =>
        `${name}: it says cluster_state:fail and takes nothing, because a master is away or slots have no master. ` +
        `Start the master that is missing (redis-cli CLUSTER NODES); where slots have none, type: redis-cli --cluster fix ${name}`,
    );
  const orphans = new Map<string, number[]>();
  for (const { shard, slot, holder } of places) {
    if (views.some((view) => serves(view, slot))) continue;
    const node = holder ?? views[0]?.name ?? 'HOST:PORT';
    orphans.set(node, [...(orphans.get(node) ?? []), shard]);
  }
  return failing.concat(
    [...orphans].map(([node, shards]) => {
      const numbers = shards.join(', ');
      const which = shards.length === 1 ? `the slot of shard ${numbers}` : `the slots of shards ${numbers}`;
      return `${node}: neither it nor another master serves ${which}. Type: redis-cli --cluster fix ${node}`;
    }),
  );
}

function serves({ slots }: MasterView, slot: number): boolean {
  return slots.some(([from, to]) => from <= slot && slot <= to);
}
