-- The logs of documents: what was done to each one's text, run by run, and what opens it without reading all of that.

-- +goose Up

-- The head of a document numbers its operations. A statement that adds some moves it, if the members are still those that the writer has
-- asked. Updates of a row should stay on its page. What is below it refers to it, and not to the document: whoever locks several does it in this
-- order.
CREATE TABLE document_head (
    tenant_id       uuid NOT NULL,
    document_id     uuid NOT NULL,
    position        bigint NOT NULL DEFAULT 0 CHECK (position >= 0), -- of the newest operation
    editor_id       bigint,                     -- whose that is
    members_version bigint NOT NULL DEFAULT 1,  -- grows with every change of its members
    sites           bigint NOT NULL DEFAULT 0 CHECK (sites BETWEEN 0 AND 4294967295), -- given so far
    session         bigint NOT NULL DEFAULT 1,  -- that new sites begin with
    epoch           text COLLATE "C" NOT NULL DEFAULT '', -- of the database that gave the last site
    server_site     bigint,                     -- that the server writes as in this epoch, if it has
    PRIMARY KEY (tenant_id, document_id),
    FOREIGN KEY (tenant_id, document_id) REFERENCES document (tenant_id, id) ON DELETE CASCADE
) WITH (fillfactor = 20);
CALL tenant_table('document_head');

-- A site numbers what it does to the document. It is one user's, or the server's, for edits that users leave to that.
CREATE TABLE document_site (
    tenant_id   uuid NOT NULL,
    document_id uuid NOT NULL,
    site        bigint NOT NULL,
    user_id     bigint,                         -- NULL: the server's
    seq         bigint NOT NULL DEFAULT 0,      -- of its newest operation
    written     boolean NOT NULL GENERATED ALWAYS AS (seq > 0) STORED,
    PRIMARY KEY (tenant_id, document_id, site),
    FOREIGN KEY (tenant_id, document_id) REFERENCES document_head (tenant_id, document_id) ON DELETE CASCADE
) WITH (fillfactor = 50);
-- Most sites are of those who only read. An index by seq would be written by each operation.
CREATE INDEX document_site_written ON document_site (tenant_id, document_id, site) WHERE written;
CALL tenant_table('document_site');
REVOKE UPDATE, DELETE, TRUNCATE ON document_site FROM rowcall_tenant;

-- The tag of the newest change of the logins, of which the application's login sees nothing else: as long as it is the same, all logins are as they were.
-- +goose StatementBegin
CREATE FUNCTION auth_tag() RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (SELECT tag FROM auth_change ORDER BY position DESC LIMIT 1);
END
$$;
-- +goose StatementEnd
REVOKE EXECUTE ON FUNCTION auth_tag FROM PUBLIC;
GRANT EXECUTE ON FUNCTION auth_tag TO rowcall_tenant;

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
    PRIMARY KEY (tenant_id, document_id, position)
);
ALTER TABLE document_operation ALTER op SET STORAGE EXTERNAL;
CALL tenant_table('document_operation');
REVOKE UPDATE, TRUNCATE ON document_operation FROM rowcall_tenant;

-- The operations of a site follow each other without a gap and without an overlap: each addition moves the site, which nothing else can.
-- Those of one statement come in the order in which it adds them; some of one site after another move it once. As there must be the site, there
-- is the document: a foreign key would look for it for each row.
-- +goose StatementBegin
CREATE FUNCTION move_document_sites() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    o record;
    moved boolean := true;
    last document_site; -- where the additions have brought a site
    first bigint;       -- of those
BEGIN
    FOR o IN SELECT tenant_id, document_id, site, seq, until FROM new_operations LOOP
        IF o.site = last.site AND o.seq = last.seq + 1 AND o.document_id = last.document_id AND o.tenant_id = last.tenant_id THEN
            last.seq := o.until;
            CONTINUE;
        END IF;
        IF last.site IS NOT NULL THEN
            UPDATE document_site SET seq = last.seq
            WHERE tenant_id = last.tenant_id AND document_id = last.document_id AND site = last.site AND seq = first - 1;
            moved := moved AND FOUND;
        END IF;
        last.tenant_id := o.tenant_id; last.document_id := o.document_id; last.site := o.site; last.seq := o.until;
        first := o.seq;
    END LOOP;
    IF last.site IS NOT NULL THEN
        UPDATE document_site SET seq = last.seq
        WHERE tenant_id = last.tenant_id AND document_id = last.document_id AND site = last.site AND seq = first - 1;
        moved := moved AND FOUND;
    END IF;
    IF NOT moved THEN
        RAISE EXCEPTION 'operations do not follow those before them of their site'
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
    FOREIGN KEY (tenant_id, document_id) REFERENCES document_head (tenant_id, document_id) ON DELETE CASCADE
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
    FOREIGN KEY (tenant_id, document_id) REFERENCES document_head (tenant_id, document_id) ON DELETE CASCADE
);
ALTER TABLE document_snapshot ALTER snapshot SET STORAGE EXTERNAL;
CALL tenant_table('document_snapshot');

-- A document has its head and its snapshot from the beginning, and its operations go with the head. Its members are numbered before a row of theirs is written, because the
-- change log's head must be the last lock of a transaction.
-- +goose StatementBegin
CREATE FUNCTION begin_document() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO document_head (tenant_id, document_id) VALUES (NEW.tenant_id, NEW.id);
    INSERT INTO document_snapshot (tenant_id, document_id) VALUES (NEW.tenant_id, NEW.id);
    RETURN NULL;
END
$$;
CREATE FUNCTION end_document() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM document_operation WHERE tenant_id = OLD.tenant_id AND document_id = OLD.document_id;
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
CREATE TRIGGER end_document AFTER DELETE ON document_head FOR EACH ROW EXECUTE FUNCTION end_document();
CREATE TRIGGER number_document_members BEFORE INSERT OR UPDATE OR DELETE ON document_member FOR EACH ROW
    EXECUTE FUNCTION number_document_members();
