import { type Kysely, PostgresAdapter, sql } from 'kysely'

/**
 * What long lists are counted and searched by, so that neither costs more with more volumes: totals per project and
 * type (usage of quotas, limits, the summary, `with_count`), and an index of metadata by key and value. Triggers keep
 * both in the transaction of every change, so that they cannot drift from the rows they tell of.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  const isPostgres = db.getExecutor().adapter instanceof PostgresAdapter
  await createTables(db)
  const run = async (statements: readonly string[]) => {
    for (const statement of statements) await sql.raw(statement).execute(db)
  }
  await run(isPostgres ? triggersOfPostgres : triggersOfSqlite)
  await run([
    `insert into volume_totals (${volumeKey}, volumes, size_gib, growth_gib)
      select project_id, coalesce(volume_type_id, ''), consumes_quota, ${isTarget('volumes')},
        count(*), sum(size_gib), sum(coalesce(pending_size_gib - size_gib, 0))
      from volumes group by 1, 2, 3, 4`,
    `insert into snapshot_totals (${snapshotKey}, snapshots, size_gib)
      select project_id, coalesce(volume_type_id, ''), consumes_quota, count(*), sum(size_gib)
      from snapshots group by 1, 2, 3`,
    ...insertPairs('volumes', isPostgres),
  ])
}

async function createTables(db: Kysely<unknown>): Promise<void> {
  await sql`create table volume_totals (
    project_id text not null, volume_type_id text not null, consumes_quota integer not null,
    is_target integer not null, volumes bigint not null, size_gib bigint not null, growth_gib bigint not null,
    primary key (project_id, volume_type_id, consumes_quota, is_target))`.execute(db)
  await sql`create table snapshot_totals (
    project_id text not null, volume_type_id text not null, consumes_quota integer not null,
    snapshots bigint not null, size_gib bigint not null,
    primary key (project_id, volume_type_id, consumes_quota))`.execute(db)
  await sql`create table volume_pairs (
    volume_id text not null, kind text not null, pair_key text not null, pair_value text not null,
    owner_id text not null, made_at text not null, primary key (volume_id, kind, pair_key))`.execute(db)
  await sql`create index volume_pairs_of_project on volume_pairs
    (owner_id, kind, pair_key, pair_value, made_at, volume_id)`.execute(db)
  await sql`create index volume_pairs_of_all on volume_pairs
    (kind, pair_key, pair_value, made_at, volume_id)`.execute(db)
}

const volumeKey = 'project_id, volume_type_id, consumes_quota, is_target'
const snapshotKey = 'project_id, volume_type_id, consumes_quota'
/** The columns of a volume whose pairs are indexed: JSON objects. */
const maps = ['metadata', 'admin_metadata', 'image_metadata']
/** Characters of a value that are indexed: all of metadata's; of longer ones the beginning. */
const indexedCharacters = 255

/** 1 for the volume that a migration copies to: only admins see those. */
function isTarget(row: string): string {
  return `case when ${row}.migration_status like 'target:%' then 1 else 0 end`
}

/** Indexes the pairs of `row`: of every volume, or of a trigger's `new`. */
function insertPairs(row: 'volumes' | 'new', isPostgres: boolean): string[] {
  const source = row === 'volumes' ? 'volumes, ' : ''
  return maps.map((map) => {
    const pairs = isPostgres ? `jsonb_each_text(${row}.${map}::jsonb)` : `json_each(${row}.${map})`
    return `insert into volume_pairs (volume_id, kind, pair_key, pair_value, owner_id, made_at)
      select ${row}.id, '${map}', pair.key, substr(pair.value, 1, ${indexedCharacters}), ${row}.project_id,
        ${row}.created_at
      from ${source}${pairs} as pair where pair.value is not null`
  })
}

/** Adds one row, or takes it away again, to the totals that it belongs to. */
function count(row: 'old' | 'new', of: 'volume' | 'snapshot'): string {
  const sign = row === 'new' ? '' : '-'
  const [key, target, growth] =
    of === 'volume'
      ? [volumeKey, `, ${isTarget(row)}`, `, ${sign}coalesce(${row}.pending_size_gib - ${row}.size_gib, 0)`]
      : [snapshotKey, '', '']
  const sums = [`${of}s`, 'size_gib', ...(of === 'volume' ? ['growth_gib'] : [])]
  return `insert into ${of}_totals (${key}, ${sums.join(', ')})
    values (${row}.project_id, coalesce(${row}.volume_type_id, ''), ${row}.consumes_quota${target},
      ${sign}1, ${sign}${row}.size_gib${growth})
    on conflict (${key}) do update set
      ${sums.map((sum) => `${sum} = ${of}_totals.${sum} + excluded.${sum}`).join(', ')};`
}

/** Which changes of a row concern its totals. */
const counted = {
  volume: [
    'project_id',
    'volume_type_id',
    'consumes_quota',
    'migration_status',
    'size_gib',
    'pending_size_gib',
  ],
  snapshot: ['project_id', 'volume_type_id', 'consumes_quota', 'size_gib'],
}
const indexed = ['project_id', ...maps]

function changed(columns: readonly string[], differs: string): string {
  return columns.map((column) => `old.${column} ${differs} new.${column}`).join(' or ')
}

const dropPairs = 'delete from volume_pairs where volume_id = old.id;'

const triggersOfSqlite = [
  ...(['volume', 'snapshot'] as const).flatMap((of) => [
    `create trigger ${of}s_counted_in after insert on ${of}s begin ${count('new', of)} end`,
    `create trigger ${of}s_counted_out after delete on ${of}s begin ${count('old', of)} end`,
    `create trigger ${of}s_counted_anew after update on ${of}s when ${changed(counted[of], 'is not')}
      begin ${count('old', of)} ${count('new', of)} end`,
  ]),
  `create trigger volumes_indexed after insert on volumes begin ${insertPairs('new', false).join(';\n')}; end`,
  `create trigger volumes_unindexed after delete on volumes begin ${dropPairs} end`,
  `create trigger volumes_reindexed after update on volumes when ${changed(indexed, 'is not')}
    begin ${dropPairs} ${insertPairs('new', false).join(';\n')}; end`,
]

/**
 * Totals are rows that transactions wait for. So that no two can wait for each other, a project's lock comes first:
 * the one that claims of quota take too.
 */
const lockProjects = `insert into volume_quota_locks (project_id, taken)
  select distinct touched.project_id, 1 from (values (old.project_id), (new.project_id)) as touched (project_id)
  where touched.project_id is not null order by touched.project_id
  on conflict (project_id) do update set taken = 1 - volume_quota_locks.taken;`

const triggersOfPostgres = [
  ...(['volume', 'snapshot'] as const).flatMap((of) => [
    `create function ${of}s_counted() returns trigger language plpgsql as $$ begin
      ${lockProjects}
      if tg_op <> 'INSERT' then ${count('old', of)} end if;
      if tg_op <> 'DELETE' then ${count('new', of)} end if;
      return null;
    end $$`,
    `create trigger ${of}s_counted after insert or delete on ${of}s for each row
      execute function ${of}s_counted()`,
    `create trigger ${of}s_counted_anew after update on ${of}s for each row
      when (${changed(counted[of], 'is distinct from')}) execute function ${of}s_counted()`,
  ]),
  `create function volumes_indexed() returns trigger language plpgsql as $$ begin
    if tg_op <> 'INSERT' then ${dropPairs} end if;
    if tg_op <> 'DELETE' then ${insertPairs('new', true).join(';\n')}; end if;
    return null;
  end $$`,
  `create trigger volumes_indexed after insert or delete on volumes for each row
    execute function volumes_indexed()`,
  `create trigger volumes_reindexed after update on volumes for each row
    when (${changed(indexed, 'is distinct from')}) execute function volumes_indexed()`,
]
