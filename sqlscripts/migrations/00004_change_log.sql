-- The change log: every committed change of a tenant's rows is an entry of it, in the same transaction; and what reads it
-- keeps: the replicas that hold a copy, and the mutations that were applied.

-- +goose Up

-- The head row of a tenant numbers its entries. Its lock, which a transaction takes last, makes positions dense and in the order
-- of the commits. Entries up to the tail have been pruned. Updates of a row should stay on its page.
CREATE TABLE change_head (
    tenant_id uuid PRIMARY KEY,
    head      bigint NOT NULL,
    tail      bigint NOT NULL DEFAULT 0 CHECK (tail BETWEEN 0 AND head)
) WITH (fillfactor = 20);
CALL tenant_table('change_head');

CREATE TABLE change (
    tenant_id uuid NOT NULL,
    position  bigint NOT NULL,
    at        timestamptz NOT NULL,
    actor     bigint NOT NULL,               -- the user
    method    text COLLATE "C" NOT NULL,     -- that was called; '' for none
    entity    text COLLATE "C" NOT NULL,
    row_id    text COLLATE "C" NOT NULL,
    op        text COLLATE "C" NOT NULL CHECK (op IN ('create', 'update', 'delete')),
    version   bigint NOT NULL,               -- of the row; of a deleted one the next
    before    jsonb,                         -- the row before the change, by the names that clients know; NULL for create
    data      jsonb,                         -- the row after it; NULL for delete
    PRIMARY KEY (tenant_id, position)
);
CREATE INDEX change_by_row ON change (tenant_id, entity, row_id, position); -- what became of a row
CALL tenant_table('change');
REVOKE UPDATE, DELETE, TRUNCATE ON change FROM rowcall_tenant;

-- Rows that were there before the log are not in it: who wants everything must not ask for entries.
INSERT INTO change_head (tenant_id, head, tail) SELECT id, 1, 1 FROM tenant;

-- The epoch changes when the database is another than the one that clients have followed: after it was restored from a backup
-- (another cluster, another database of it, another timeline of it, other tables in it), or when somebody calls new_epoch: after a
-- restore that Postgres does not know of, as of a disk's snapshot, and after a migration that changes rows beside the log.
CREATE TABLE log_epoch (
    one   boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO log_epoch DEFAULT VALUES;
-- +goose StatementBegin
CREATE FUNCTION current_epoch() RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    -- The timeline is that of the next change: pg_control_checkpoint has the last one's until a checkpoint after a promotion.
    SELECT md5(concat_ws(' ', e.epoch, s.system_identifier, left(pg_walfile_name(pg_current_wal_lsn()), 8), d.oid, e.tableoid))
    FROM log_epoch e, pg_control_system() s, pg_database d
    WHERE d.datname = current_database()
$$;
CREATE PROCEDURE new_epoch() LANGUAGE sql AS $$ UPDATE log_epoch SET epoch = gen_random_uuid() $$;
-- +goose StatementEnd
REVOKE EXECUTE ON PROCEDURE new_epoch FROM PUBLIC;

-- A replica is a copy of a tenant's rows somewhere else, with the position up to which it has followed the log.
CREATE TABLE replica (
    tenant_id uuid NOT NULL,
    id        uuid NOT NULL,
    user_id   bigint NOT NULL,
    name      text COLLATE "C" NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    entities  jsonb,                         -- those that it follows; NULL for all
    position  bigint NOT NULL,
    ctime     timestamptz NOT NULL,
    seen_at   timestamptz NOT NULL,          -- its lease is counted from here
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES membership (tenant_id, user_id) ON DELETE CASCADE
);
CREATE INDEX replica_by_user ON replica (tenant_id, user_id);
CALL tenant_table('replica');

-- A mutation that a client named: what it was, and what was answered. The row is written by the transaction that applies it.
CREATE TABLE mutation (
    tenant_id uuid NOT NULL,
    user_id   bigint NOT NULL,
    id        uuid NOT NULL,                 -- a UUIDv7, so it tells its time
    digest    bytea NOT NULL,                -- SHA-256 of its content
    answer    bytea,                         -- NULL only until the transaction commits
    PRIMARY KEY (tenant_id, user_id, id)
);
CREATE INDEX mutation_by_time ON mutation (id);
CALL tenant_table('mutation');

-- Mutations whose ids are under the floor may have been forgotten, and are refused. It never falls, so that does not depend on clocks.
CREATE TABLE mutation_floor (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    id  uuid NOT NULL
);
INSERT INTO mutation_floor (id) VALUES ('00000000-0000-0000-0000-000000000000');
GRANT SELECT, UPDATE ON mutation_floor TO rowcall_platform;
CREATE FUNCTION least_mutation() RETURNS uuid LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    AS 'SELECT id FROM mutation_floor';

-- Users are changed by the platform and by hand, beside any repository, so triggers log their changes: deferred to the commit, as
-- the head's lock is the last that a transaction takes. app.method names the method, if there is one.
CALL owner_reads('membership');
-- +goose StatementBegin
CREATE FUNCTION user_data(m membership, a account) RETURNS jsonb LANGUAGE sql IMMUTABLE SET timezone = 'UTC' AS $$
    SELECT to_jsonb(d) FROM (SELECT a.id, m.version, m.cid, m.ctime, m.mid, m.mtime, a.username, a.name, m.role,
        m.suspended_at IS NOT NULL OR a.suspended_at IS NOT NULL AS suspended) d
$$;
CREATE FUNCTION log_user_change(tenant uuid, op text, old_user jsonb, new_user jsonb, actor bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    u jsonb := coalesce(new_user, old_user);
    was text := coalesce(current_setting('app.tenant_id', true), '');
    now_at bigint;
BEGIN
    PERFORM set_config('app.tenant_id', tenant::text, true); -- the fence holds here, too
    WITH h AS (
        INSERT INTO change_head AS h (tenant_id, head) VALUES (tenant, 1)
        ON CONFLICT (tenant_id) DO UPDATE SET head = h.head + 1 RETURNING h.head
    )
    INSERT INTO change (tenant_id, position, at, actor, method, entity, row_id, op, version, before, data)
    SELECT tenant, h.head, now(), actor, coalesce(current_setting('app.method', true), ''), 'user', u ->> 'id', op,
           (u ->> 'version')::bigint + (op = 'delete')::int, old_user, new_user
    FROM h RETURNING position INTO now_at;
    PERFORM set_config('app.tenant_id', was, true);
    PERFORM pg_notify('rowcall_change', '- ' || tenant || ':' || now_at); -- no server has made this change, so none wakes its subscribers
END
$$;
CREATE FUNCTION log_membership() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    a account;
    m membership := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
BEGIN
    SELECT * INTO a FROM account WHERE id = m.user_id;
    PERFORM log_user_change(m.tenant_id, CASE TG_OP WHEN 'INSERT' THEN 'create' ELSE lower(TG_OP) END,
        CASE WHEN TG_OP <> 'INSERT' THEN user_data(OLD, a) END, CASE WHEN TG_OP <> 'DELETE' THEN user_data(NEW, a) END, m.mid);
    RETURN NULL;
END
$$;
CREATE FUNCTION log_account() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM log_user_change(m.tenant_id, 'update', user_data(m, OLD), user_data(m, NEW), NEW.id)
    FROM (SELECT * FROM membership WHERE user_id = NEW.id ORDER BY tenant_id) m;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
REVOKE EXECUTE ON FUNCTION log_user_change, log_membership, log_account FROM PUBLIC;

-- By their names they come before auth_change, so that auth_head is locked after a tenant's head, as where a repository deletes a key.
CREATE CONSTRAINT TRIGGER append_user AFTER INSERT OR DELETE ON membership DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    EXECUTE FUNCTION log_membership();
CREATE CONSTRAINT TRIGGER append_user_update AFTER UPDATE ON membership DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN ((OLD.role, OLD.suspended_at, OLD.version) IS DISTINCT FROM (NEW.role, NEW.suspended_at, NEW.version))
    EXECUTE FUNCTION log_membership();
CREATE CONSTRAINT TRIGGER append_user AFTER UPDATE ON account DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN ((OLD.username, OLD.name, OLD.suspended_at) IS DISTINCT FROM (NEW.username, NEW.name, NEW.suspended_at))
    EXECUTE FUNCTION log_account();

-- Nodes are told when a login may have ended, so that its streams end at once. These writes are rare: NOTIFY, which takes a lock over the
-- whole database at the commit, does no harm in their transactions.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION note_auth_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    now_at bigint;
BEGIN
    UPDATE auth_head SET position = position + 1 RETURNING position INTO now_at;
    INSERT INTO auth_change (position, user_id) VALUES (now_at, (to_jsonb(OLD) ->> TG_ARGV[0])::bigint);
    DELETE FROM auth_change WHERE position <= now_at - 10000;
    PERFORM pg_notify('rowcall_auth', '');
    RETURN NULL;
END
$$;
-- +goose StatementEnd
