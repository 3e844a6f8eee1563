/**
 * The tables, as steps that only go forward. `PRAGMA user_version` counts the steps taken.
 *
 * `seq` is the order of creation. `state` of what also lives in the thin store: `creating` before the store has it,
 * `ready`, `deleting` once it is going; a start finishes or removes whatever is not `ready`.
 */
export const migrations: readonly string[] = [
  `
  CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

  CREATE TABLE tenant (
    seq INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, name TEXT NOT NULL, parent_path TEXT NOT NULL,
    attributes TEXT NOT NULL DEFAULT '{}'
  ) STRICT;

  CREATE TABLE user (
    seq INTEGER PRIMARY KEY, user_id TEXT NOT NULL UNIQUE, full_name TEXT NOT NULL, password_hash TEXT NOT NULL,
    email TEXT NOT NULL DEFAULT '', enabled INTEGER NOT NULL DEFAULT 1,
    roles TEXT NOT NULL DEFAULT '[]', tenants TEXT NOT NULL DEFAULT '[]'
  ) STRICT;

  CREATE TABLE app_instance (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL REFERENCES tenant (path),
    name TEXT NOT NULL, state TEXT NOT NULL, descr TEXT NOT NULL DEFAULT '', create_mode TEXT NOT NULL,
    uuid TEXT NOT NULL, admin_state TEXT NOT NULL, access_control_mode TEXT NOT NULL, app_template TEXT,
    repair_priority TEXT NOT NULL DEFAULT 'default', restore_point TEXT NOT NULL DEFAULT '',
    restoring TEXT, metadata TEXT NOT NULL DEFAULT '{}', UNIQUE (tenant, name)
  ) STRICT;
  CREATE INDEX app_instance_uuid ON app_instance (uuid);
  CREATE INDEX app_instance_state ON app_instance (state) WHERE state <> 'ready';

  CREATE TABLE storage_instance (
    seq INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE, app_instance TEXT NOT NULL REFERENCES app_instance (id),
    name TEXT NOT NULL, state TEXT NOT NULL, admin_state TEXT NOT NULL, iqn TEXT NOT NULL UNIQUE,
    access_control_mode TEXT NOT NULL, auth TEXT NOT NULL, ip_pool TEXT NOT NULL,
    service_configuration TEXT NOT NULL, next_lun INTEGER NOT NULL DEFAULT 0, metadata TEXT NOT NULL DEFAULT '{}',
    UNIQUE (app_instance, name)
  ) STRICT;

  CREATE TABLE volume (
    seq INTEGER PRIMARY KEY, store_id TEXT NOT NULL UNIQUE,
    storage_instance TEXT NOT NULL REFERENCES storage_instance (uuid), name TEXT NOT NULL, state TEXT NOT NULL,
    uuid TEXT NOT NULL UNIQUE, lun INTEGER NOT NULL, size_gib INTEGER NOT NULL, replica_count INTEGER NOT NULL,
    placement_mode TEXT NOT NULL, placement_policy TEXT NOT NULL, performance_policy TEXT,
    restore_point TEXT NOT NULL DEFAULT '', UNIQUE (storage_instance, name)
  ) STRICT;
  CREATE INDEX volume_state ON volume (state) WHERE state <> 'ready';

  CREATE TABLE app_snapshot (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, app_instance TEXT NOT NULL REFERENCES app_instance (id),
    uuid TEXT NOT NULL, utc_ts TEXT NOT NULL, state TEXT NOT NULL, structure TEXT NOT NULL,
    UNIQUE (app_instance, uuid), UNIQUE (app_instance, utc_ts)
  ) STRICT;

  CREATE TABLE snapshot (
    seq INTEGER PRIMARY KEY, store_id TEXT NOT NULL UNIQUE, volume TEXT NOT NULL REFERENCES volume (store_id),
    app_snapshot TEXT REFERENCES app_snapshot (id), uuid TEXT NOT NULL, utc_ts TEXT NOT NULL, state TEXT NOT NULL,
    size_gib INTEGER NOT NULL, UNIQUE (volume, uuid), UNIQUE (volume, utc_ts)
  ) STRICT;
  CREATE INDEX snapshot_of_app ON snapshot (app_snapshot);
  CREATE INDEX snapshot_state ON snapshot (state) WHERE state <> 'ready';

  CREATE TABLE snapshot_policy (
    seq INTEGER PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL, interval TEXT NOT NULL,
    retention_count INTEGER NOT NULL, start_time TEXT NOT NULL, UNIQUE (owner, name)
  ) STRICT;

  CREATE TABLE initiator (
    seq INTEGER PRIMARY KEY, tenant TEXT NOT NULL REFERENCES tenant (path), id TEXT NOT NULL, name TEXT NOT NULL,
    UNIQUE (tenant, id)
  ) STRICT;

  CREATE TABLE initiator_group (
    seq INTEGER PRIMARY KEY, tenant TEXT NOT NULL REFERENCES tenant (path), name TEXT NOT NULL, UNIQUE (tenant, name)
  ) STRICT;

  CREATE TABLE initiator_group_member (
    seq INTEGER PRIMARY KEY,
    initiator_group INTEGER NOT NULL REFERENCES initiator_group (seq) ON DELETE CASCADE,
    initiator INTEGER NOT NULL REFERENCES initiator (seq) ON DELETE CASCADE, UNIQUE (initiator_group, initiator)
  ) STRICT;
  CREATE INDEX initiator_group_member_initiator ON initiator_group_member (initiator);

  CREATE TABLE acl_initiator (
    seq INTEGER PRIMARY KEY, storage_instance TEXT NOT NULL REFERENCES storage_instance (uuid) ON DELETE CASCADE,
    initiator INTEGER NOT NULL REFERENCES initiator (seq) ON DELETE CASCADE, UNIQUE (storage_instance, initiator)
  ) STRICT;
  CREATE INDEX acl_initiator_initiator ON acl_initiator (initiator);

  CREATE TABLE acl_initiator_group (
    seq INTEGER PRIMARY KEY, storage_instance TEXT NOT NULL REFERENCES storage_instance (uuid) ON DELETE CASCADE,
    initiator_group INTEGER NOT NULL REFERENCES initiator_group (seq) ON DELETE CASCADE,
    UNIQUE (storage_instance, initiator_group)
  ) STRICT;
  CREATE INDEX acl_initiator_group_group ON acl_initiator_group (initiator_group);

  CREATE TABLE document (
    seq INTEGER PRIMARY KEY, collection TEXT NOT NULL, tenant TEXT NOT NULL REFERENCES tenant (path),
    name TEXT NOT NULL, content TEXT NOT NULL, UNIQUE (collection, tenant, name)
  ) STRICT;

  CREATE TABLE event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, uuid TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, time TEXT NOT NULL,
    code TEXT NOT NULL, severity TEXT NOT NULL, description TEXT NOT NULL, tenant TEXT NOT NULL,
    object_path TEXT NOT NULL, context TEXT NOT NULL DEFAULT '{}'
  ) STRICT;
  `,
  `
  ALTER TABLE event ADD COLUMN last_seen TEXT NOT NULL DEFAULT '';
  ALTER TABLE event ADD COLUMN repeat_count INTEGER NOT NULL DEFAULT 1;
  UPDATE event SET last_seen = time;

  CREATE TABLE alert (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, uuid TEXT NOT NULL UNIQUE, code TEXT NOT NULL, severity TEXT NOT NULL,
    description TEXT NOT NULL, tenant TEXT NOT NULL, object_path TEXT NOT NULL, raised TEXT NOT NULL,
    last_seen TEXT NOT NULL, repeat_count INTEGER NOT NULL DEFAULT 1, cleared INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  CREATE UNIQUE INDEX alert_standing ON alert (code, object_path) WHERE cleared = 0;

  ALTER TABLE snapshot_policy ADD COLUMN id TEXT NOT NULL DEFAULT '';
  ALTER TABLE snapshot_policy ADD COLUMN next_run INTEGER NOT NULL DEFAULT 0;
  UPDATE snapshot_policy SET id = lower(hex(randomblob(16)));
  CREATE INDEX snapshot_policy_next_run ON snapshot_policy (next_run);
  ALTER TABLE snapshot ADD COLUMN policy TEXT NOT NULL DEFAULT '';
  ALTER TABLE app_snapshot ADD COLUMN policy TEXT NOT NULL DEFAULT '';
  `,
  `
  CREATE TABLE medium (id TEXT PRIMARY KEY, path TEXT NOT NULL, kind TEXT NOT NULL) STRICT;

  CREATE TABLE copy (
    store_id TEXT NOT NULL, medium TEXT NOT NULL REFERENCES medium (id), state TEXT NOT NULL,
    resync TEXT NOT NULL DEFAULT '[]', PRIMARY KEY (store_id, medium)
  ) STRICT;
  CREATE INDEX copy_medium ON copy (medium);
  `,
  `
  CREATE INDEX app_instance_page ON app_instance (tenant, state);
  `,
  `
  ALTER TABLE alert ADD COLUMN told INTEGER NOT NULL DEFAULT 0;
  UPDATE alert SET told = 2;
  CREATE INDEX alert_untold ON alert (seq) WHERE told <= cleared;
  `,
]
