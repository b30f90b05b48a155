-- The vault: collections of items that the server keeps and cannot read. Its clients encrypt them, and give each member of a collection
-- its key, wrapped for them alone.

-- +goose Up
CREATE TABLE vault_collection (
    tenant_id uuid NOT NULL,
    id        uuid NOT NULL,
    owner_id  bigint NOT NULL,
    label     text COLLATE "C" NOT NULL CHECK (char_length(label) BETWEEN 1 AND 1000),
    version   bigint NOT NULL,
    cid       bigint NOT NULL,
    ctime     timestamptz NOT NULL,
    mid       bigint NOT NULL,
    mtime     timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, owner_id) REFERENCES membership (tenant_id, user_id)
);
CREATE INDEX vault_collection_by_owner ON vault_collection (tenant_id, owner_id);
CALL tenant_table('vault_collection');

CREATE TABLE vault_member (
    tenant_id     uuid NOT NULL,
    id            uuid NOT NULL,
    collection_id uuid NOT NULL,
    user_id       bigint NOT NULL,
    wrapped_key   text COLLATE "C" NOT NULL CHECK (char_length(wrapped_key) BETWEEN 1 AND 8192),
    version       bigint NOT NULL,
    cid           bigint NOT NULL,
    ctime         timestamptz NOT NULL,
    mid           bigint NOT NULL,
    mtime         timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, collection_id, user_id),
    FOREIGN KEY (tenant_id, collection_id) REFERENCES vault_collection (tenant_id, id) DEFERRABLE INITIALLY DEFERRED,
    FOREIGN KEY (tenant_id, user_id) REFERENCES membership (tenant_id, user_id)
);
CREATE INDEX vault_member_by_user ON vault_member (tenant_id, user_id);
CREATE INDEX change_of_vault_members ON change (tenant_id, position) WHERE entity = 'vault_member';
CALL tenant_table('vault_member');

-- The owner is a member for as long as there is the collection.
ALTER TABLE vault_collection ADD FOREIGN KEY (tenant_id, id, owner_id) REFERENCES vault_member (tenant_id, collection_id, user_id)
    ON DELETE RESTRICT DEFERRABLE INITIALLY DEFERRED;

CREATE TABLE vault_item (
    tenant_id     uuid NOT NULL,
    id            uuid NOT NULL,
    collection_id uuid NOT NULL,
    payload       text COLLATE "C" NOT NULL CHECK (octet_length(payload) BETWEEN 1 AND 349528), -- base64 of 256 KiB
    version       bigint NOT NULL,
    cid           bigint NOT NULL,
    ctime         timestamptz NOT NULL,
    mid           bigint NOT NULL,
    mtime         timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, collection_id) REFERENCES vault_collection (tenant_id, id)
);
ALTER TABLE vault_item ALTER payload SET STORAGE EXTERNAL; -- nothing compresses what is encrypted
CREATE INDEX vault_item_by_collection ON vault_item (tenant_id, collection_id, id);
CALL tenant_table('vault_item');

-- What admins see of the change log: nothing of entities whose rows are their groups' members' alone.
CREATE VIEW change_audit WITH (security_invoker = true) AS
SELECT * FROM change WHERE entity NOT IN ('vault_collection', 'vault_member', 'vault_item');
GRANT SELECT ON change_audit TO rowcall_tenant;

-- What the items in all collections of an owner take. Only the triggers below write it.
CREATE TABLE vault_usage (
    tenant_id uuid NOT NULL,
    owner_id  bigint NOT NULL,
    items     bigint NOT NULL DEFAULT 0 CHECK (items >= 0),
    bytes     bigint NOT NULL DEFAULT 0 CHECK (bytes >= 0), -- of payloads
    PRIMARY KEY (tenant_id, owner_id)
);
CALL tenant_table('vault_usage');
REVOKE INSERT, UPDATE, DELETE ON vault_usage FROM rowcall_tenant;

-- The usage is locked before a row is written, because the log's head must be the last lock of a transaction, and counted
-- when all rows of the statement are. The session says what the most is: app.vault_items and app.vault_bytes; without, there is no most.
-- +goose StatementBegin
CREATE FUNCTION begin_vault_usage() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO vault_usage (tenant_id, owner_id) VALUES (NEW.tenant_id, NEW.owner_id) ON CONFLICT DO NOTHING;
    RETURN NEW;
END
$$;
CREATE FUNCTION lock_vault_usage() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    item vault_item := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
BEGIN
    PERFORM FROM vault_usage u
        JOIN vault_collection c ON (c.tenant_id, c.owner_id) = (u.tenant_id, u.owner_id)
        WHERE c.tenant_id = item.tenant_id AND c.id = item.collection_id
        FOR UPDATE OF u;
    RETURN item;
END
$$;
CREATE FUNCTION count_vault_items(delta_items bigint, delta_bytes bigint, tenant uuid, collection uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    most_items bigint := nullif(current_setting('app.vault_items', true), '');
    most_bytes bigint := nullif(current_setting('app.vault_bytes', true), '');
    used vault_usage;
BEGIN
    UPDATE vault_usage u SET items = u.items + delta_items, bytes = u.bytes + delta_bytes
    FROM vault_collection c
    WHERE c.tenant_id = tenant AND c.id = collection AND (u.tenant_id, u.owner_id) = (c.tenant_id, c.owner_id)
    RETURNING u.* INTO used;
    IF delta_items > 0 AND used.items > most_items THEN
        RAISE EXCEPTION 'is of an owner whose collections hold % items, which is the most', most_items
            USING ERRCODE = 'RC422', COLUMN = 'collection_id';
    ELSIF delta_bytes > 0 AND used.bytes > most_bytes THEN
        RAISE EXCEPTION 'is too long: the collections of an owner hold at most % bytes', most_bytes
            USING ERRCODE = 'RC422', COLUMN = 'payload';
    END IF;
END
$$;
CREATE FUNCTION vault_items_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    CASE TG_OP
    WHEN 'INSERT' THEN
        PERFORM count_vault_items(count(*), sum(octet_length(payload)), tenant_id, collection_id) FROM new_items GROUP BY tenant_id, collection_id;
    WHEN 'DELETE' THEN
        PERFORM count_vault_items(-count(*), -sum(octet_length(payload)), tenant_id, collection_id) FROM old_items GROUP BY tenant_id, collection_id;
    WHEN 'UPDATE' THEN
        PERFORM count_vault_items(0, sum(bytes)::bigint, tenant_id, collection_id)
        FROM (SELECT tenant_id, collection_id, octet_length(payload) AS bytes FROM new_items
              UNION ALL SELECT tenant_id, collection_id, -octet_length(payload) FROM old_items) d
        GROUP BY tenant_id, collection_id;
    END CASE;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
REVOKE EXECUTE ON FUNCTION begin_vault_usage, lock_vault_usage, count_vault_items, vault_items_changed FROM PUBLIC;
CREATE TRIGGER begin_vault_usage BEFORE INSERT ON vault_collection FOR EACH ROW EXECUTE FUNCTION begin_vault_usage();
CREATE TRIGGER lock_vault_usage BEFORE INSERT OR UPDATE OR DELETE ON vault_item FOR EACH ROW EXECUTE FUNCTION lock_vault_usage();
CREATE TRIGGER vault_items_added AFTER INSERT ON vault_item REFERENCING NEW TABLE AS new_items
    FOR EACH STATEMENT EXECUTE FUNCTION vault_items_changed();
CREATE TRIGGER vault_items_removed AFTER DELETE ON vault_item REFERENCING OLD TABLE AS old_items
    FOR EACH STATEMENT EXECUTE FUNCTION vault_items_changed();
CREATE TRIGGER vault_items_written AFTER UPDATE ON vault_item REFERENCING NEW TABLE AS new_items OLD TABLE AS old_items
    FOR EACH STATEMENT EXECUTE FUNCTION vault_items_changed();
