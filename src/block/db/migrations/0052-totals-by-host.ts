import { type Kysely, PostgresAdapter, sql } from 'kysely'

/**
 * What is promised on each pool, so that the scheduler does not add up every volume for each that it places. Kept per
 * project too: whoever changes a project's totals has its lock (0050), so that no two transactions wait for each other.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`create table volume_host_totals (
    project_id text not null, host text not null, volumes bigint not null, provisioned_gib bigint not null,
    primary key (project_id, host))`.execute(db)
  const isPostgres = db.getExecutor().adapter instanceof PostgresAdapter
  for (const statement of isPostgres ? triggersOfPostgres : triggersOfSqlite) {
    await sql.raw(statement).execute(db)
  }
  await sql`insert into volume_host_totals (project_id, host, volumes, provisioned_gib)
    select project_id, host, count(*), sum(coalesce(pending_size_gib, size_gib)) from volumes
    where host is not null group by project_id, host`.execute(db)
}

/** Adds one row to the totals of its pool, or takes it away again; one that is on none counts nowhere. */
function count(row: 'old' | 'new'): string {
  const sign = row === 'new' ? '' : '-'
  return `insert into volume_host_totals (project_id, host, volumes, provisioned_gib)
    select ${row}.project_id, ${row}.host, ${sign}1, ${sign}coalesce(${row}.pending_size_gib, ${row}.size_gib)
    where ${row}.host is not null
    on conflict (project_id, host) do update set volumes = volume_host_totals.volumes + excluded.volumes,
      provisioned_gib = volume_host_totals.provisioned_gib + excluded.provisioned_gib;`
}

function changed(differs: string): string {
  return ['project_id', 'host', 'size_gib', 'pending_size_gib']
    .map((column) => `old.${column} ${differs} new.${column}`)
    .join(' or ')
}

const triggersOfSqlite = [
  `create trigger volumes_placed after insert on volumes begin ${count('new')} end`,
  `create trigger volumes_displaced after delete on volumes begin ${count('old')} end`,
  `create trigger volumes_replaced after update on volumes when ${changed('is not')}
    begin ${count('old')} ${count('new')} end`,
]

/** The project's lock first, as 0050 has it. */
const lockProjects = `insert into volume_quota_locks (project_id, taken)
  select distinct touched.project_id, 1 from (values (old.project_id), (new.project_id)) as touched (project_id)
  where touched.project_id is not null order by touched.project_id
  on conflict (project_id) do update set taken = 1 - volume_quota_locks.taken;`

const triggersOfPostgres = [
  `create function volumes_placed() returns trigger language plpgsql as $$ begin
    ${lockProjects}
    if tg_op <> 'INSERT' then ${count('old')} end if;
    if tg_op <> 'DELETE' then ${count('new')} end if;
    return null;
  end $$`,
  `create trigger volumes_placed after insert or delete on volumes for each row
    execute function volumes_placed()`,
  `create trigger volumes_replaced after update on volumes for each row
    when (${changed('is distinct from')}) execute function volumes_placed()`,
]
