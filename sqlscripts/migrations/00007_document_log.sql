-- The logs of documents: what was done to each one's text, run by run, and what opens it without reading all of that.

-- +goose Up

-- The head of a document numbers its operations. A statement that adds some moves it, if it is where the writer has seen it and the members are
-- those that the writer has asked. Updates of a row should stay on its page.
CREATE TABLE document_head (
    tenant_id       uuid NOT NULL,
    document_id     uuid NOT NULL,
    position        bigint NOT NULL DEFAULT 0 CHECK (position >= 0), -- of the newest operation
    editor_id       bigint,                     -- whose that is
    members_version bigint NOT NULL DEFAULT 1,  -- grows with every change of its members
    sites           bigint NOT NULL DEFAULT 0 CHECK (sites BETWEEN 0 AND 4294967295), -- given so far
    session         bigint NOT NULL DEFAULT 1,  -- that new sites begin with
    epoch           text COLLATE "C" NOT NULL DEFAULT '', -- of the database that gave the last site
    PRIMARY KEY (tenant_id, document_id),
    FOREIGN KEY (tenant_id, document_id) REFERENCES document (tenant_id, id) ON DELETE CASCADE
) WITH (fillfactor = 20);
CALL tenant_table('document_head');

-- A site numbers what it does to the document. It is one user's, or a node's, for edits that users leave to the server.
CREATE TABLE document_site (
    tenant_id   uuid NOT NULL,
    document_id uuid NOT NULL,
    site        bigint NOT NULL,
    user_id     bigint,                         -- NULL: a node's
    seq         bigint NOT NULL DEFAULT 0,      -- of its newest operation
    PRIMARY KEY (tenant_id, document_id, site),
    FOREIGN KEY (tenant_id, document_id) REFERENCES document (tenant_id, id) ON DELETE CASCADE
) WITH (fillfactor = 50);
CALL tenant_table('document_site');
REVOKE UPDATE, DELETE, TRUNCATE ON document_site FROM rowcall_tenant;

-- An operation is a run of consecutive characters that a site inserted or deleted. Those up to the snapshot have gone to document_history.
CREATE TABLE document_operation (
    tenant_id   uuid NOT NULL,
    document_id uuid NOT NULL,
    position    bigint NOT NULL,                -- 1, 2, 3, …
    site        bigint NOT NULL,
    seq         bigint NOT NULL CHECK (seq >= 1), -- of its first character
    until       bigint NOT NULL CHECK (until >= seq), -- of its last
    user_id     bigint NOT NULL,                -- who did it
    at          timestamptz NOT NULL DEFAULT now(),
    op          bytea NOT NULL,                 -- the one run, as textcrdt encodes it
    PRIMARY KEY (tenant_id, document_id, position),
    FOREIGN KEY (tenant_id, document_id) REFERENCES document (tenant_id, id) ON DELETE CASCADE
);
ALTER TABLE document_operation ALTER op SET STORAGE EXTERNAL;
CALL tenant_table('document_operation');
REVOKE UPDATE, TRUNCATE ON document_operation FROM rowcall_tenant;

-- The operations of a site follow each other without a gap and without an overlap: each addition moves the site, which nothing else can.
-- +goose StatementBegin
CREATE FUNCTION move_document_sites() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    missed bigint;
BEGIN
    WITH run AS (
        SELECT *, seq = lag(until, 1, seq - 1) OVER (PARTITION BY tenant_id, document_id, site ORDER BY position) + 1 AS follows
        FROM new_operations
    ), added AS (
        SELECT tenant_id, document_id, site, min(seq) AS seq, max(until) AS until, bool_and(follows) AS follow
        FROM run GROUP BY tenant_id, document_id, site
    ), moved AS (
        UPDATE document_site s SET seq = a.until FROM added a
        WHERE s.tenant_id = a.tenant_id AND s.document_id = a.document_id AND s.site = a.site AND s.seq = a.seq - 1 AND a.follow
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM added) - (SELECT count(*) FROM moved) INTO missed;
    IF missed > 0 THEN
        RAISE EXCEPTION 'operations of % sites do not follow the ones before', missed
            USING ERRCODE = 'exclusion_violation', TABLE = TG_TABLE_NAME, CONSTRAINT = 'document_operation_follows';
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
REVOKE EXECUTE ON FUNCTION move_document_sites FROM PUBLIC;
CREATE TRIGGER move_document_sites AFTER INSERT ON document_operation REFERENCING NEW TABLE AS new_operations
    FOR EACH STATEMENT EXECUTE FUNCTION move_document_sites();

-- Operations that are in the snapshot: as one batch, whose run i is at the position first + i.
CREATE TABLE document_history (
    tenant_id   uuid NOT NULL,
    document_id uuid NOT NULL,
    first       bigint NOT NULL,
    position    bigint NOT NULL CHECK (position >= first), -- of the last
    at          timestamptz NOT NULL,           -- when the last was done
    operations  bytea NOT NULL,                 -- packed
    PRIMARY KEY (tenant_id, document_id, position),
    FOREIGN KEY (tenant_id, document_id) REFERENCES document (tenant_id, id) ON DELETE CASCADE
);
ALTER TABLE document_history ALTER operations SET STORAGE EXTERNAL; -- it is packed already
CALL tenant_table('document_history');
REVOKE UPDATE, DELETE, TRUNCATE ON document_history FROM rowcall_tenant;

-- The newest snapshot of a document. Its lock is held by whoever makes the next one.
CREATE TABLE document_snapshot (
    tenant_id   uuid NOT NULL,
    document_id uuid NOT NULL,
    position    bigint NOT NULL DEFAULT 0,      -- up to which operations are in it
    snapshot    bytea NOT NULL DEFAULT '',      -- packed; '' at 0
    PRIMARY KEY (tenant_id, document_id),
    FOREIGN KEY (tenant_id, document_id) REFERENCES document (tenant_id, id) ON DELETE CASCADE
);
ALTER TABLE document_snapshot ALTER snapshot SET STORAGE EXTERNAL;
CALL tenant_table('document_snapshot');

-- A document has its head and its snapshot from the beginning. Its members are numbered before a row of theirs is written, because the
-- change log's head must be the last lock of a transaction.
-- +goose StatementBegin
CREATE FUNCTION begin_document() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO document_head (tenant_id, document_id) VALUES (NEW.tenant_id, NEW.id);
    INSERT INTO document_snapshot (tenant_id, document_id) VALUES (NEW.tenant_id, NEW.id);
    RETURN NULL;
END
$$;
CREATE FUNCTION number_document_members() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    m document_member := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
BEGIN
    UPDATE document_head SET members_version = members_version + 1 WHERE tenant_id = m.tenant_id AND document_id = m.document_id;
    RETURN m;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER begin_document AFTER INSERT ON document FOR EACH ROW EXECUTE FUNCTION begin_document();
CREATE TRIGGER number_document_members BEFORE INSERT OR UPDATE OR DELETE ON document_member FOR EACH ROW
    EXECUTE FUNCTION number_document_members();
