-- Documents that their members read, comment and edit at once. What is done to their text is in a log of its own for each document.

-- +goose Up
CREATE TABLE document (
    tenant_id uuid NOT NULL,
    id        uuid NOT NULL,
    owner_id  bigint NOT NULL,
    title     text COLLATE "C" NOT NULL CHECK (char_length(title) BETWEEN 1 AND 200),
    language  text COLLATE "C" CHECK (char_length(language) BETWEEN 1 AND 50),
    position  bigint NOT NULL CHECK (position >= 0), -- of an operation not long ago: the document's own log may be ahead
    edited_at timestamptz NOT NULL,                  -- when that was
    version   bigint NOT NULL,
    cid       bigint NOT NULL,
    ctime     timestamptz NOT NULL,
    mid       bigint NOT NULL,
    mtime     timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, owner_id) REFERENCES membership (tenant_id, user_id)
);
CREATE INDEX document_by_owner ON document (tenant_id, owner_id);
CALL tenant_table('document');

CREATE TABLE document_member (
    tenant_id   uuid NOT NULL,
    id          uuid NOT NULL,
    document_id uuid NOT NULL,
    user_id     bigint NOT NULL,
    role        text COLLATE "C" NOT NULL CHECK (role IN ('reader', 'commenter', 'editor')),
    version     bigint NOT NULL,
    cid         bigint NOT NULL,
    ctime       timestamptz NOT NULL,
    mid         bigint NOT NULL,
    mtime       timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, document_id, user_id),
    FOREIGN KEY (tenant_id, document_id) REFERENCES document (tenant_id, id) DEFERRABLE INITIALLY DEFERRED,
    FOREIGN KEY (tenant_id, user_id) REFERENCES membership (tenant_id, user_id)
);
CREATE INDEX document_member_by_user ON document_member (tenant_id, user_id);
CREATE INDEX change_of_document_members ON change (tenant_id, position) WHERE entity = 'document_member';
CALL tenant_table('document_member');

-- The owner is a member for as long as there is the document, and an editor.
ALTER TABLE document ADD FOREIGN KEY (tenant_id, id, owner_id) REFERENCES document_member (tenant_id, document_id, user_id)
    ON DELETE RESTRICT DEFERRABLE INITIALLY DEFERRED;
-- +goose StatementBegin
CREATE FUNCTION keep_document_owner_editor() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM document WHERE tenant_id = NEW.tenant_id AND id = NEW.document_id AND owner_id = NEW.user_id) THEN
        RAISE EXCEPTION 'must be editor, as this is the owner' USING ERRCODE = 'RC422', COLUMN = 'role';
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd
REVOKE EXECUTE ON FUNCTION keep_document_owner_editor FROM PUBLIC;
CREATE TRIGGER keep_document_owner_editor BEFORE INSERT OR UPDATE ON document_member FOR EACH ROW WHEN (NEW.role <> 'editor')
    EXECUTE FUNCTION keep_document_owner_editor();

-- What is below a document goes with it. The change log does not repeat that for each row, as all memberships end there.

-- A comment stands at a part of the text, between two anchors, or at the document as a whole; an answer with the comment that it answers.
CREATE TABLE document_comment (
    tenant_id   uuid NOT NULL,
    id          uuid NOT NULL,
    document_id uuid NOT NULL,
    parent_id   uuid,
    start       text COLLATE "C" CHECK (start ~ '^(0|[1-9][0-9]{0,9})\.(0|[1-9][0-9]{0,9})[ab]$'),
    "end"       text COLLATE "C" CHECK ("end" ~ '^(0|[1-9][0-9]{0,9})\.(0|[1-9][0-9]{0,9})[ab]$'),
    body        text COLLATE "C" NOT NULL CHECK (char_length(body) BETWEEN 1 AND 10000),
    resolved    boolean NOT NULL,
    version     bigint NOT NULL,
    cid         bigint NOT NULL,
    ctime       timestamptz NOT NULL,
    mid         bigint NOT NULL,
    mtime       timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, document_id, id),
    CHECK ((start IS NULL) = ("end" IS NULL)),
    FOREIGN KEY (tenant_id, document_id) REFERENCES document (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, document_id, parent_id) REFERENCES document_comment (tenant_id, document_id, id)
);
CREATE INDEX document_comment_by_parent ON document_comment (tenant_id, document_id, parent_id);
CALL tenant_table('document_comment');

-- Others than the author resolve a comment, and leave what it says.
-- +goose StatementBegin
CREATE FUNCTION keep_document_comment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'Only its author may change what a comment says' USING ERRCODE = 'RC403';
END
$$;
-- +goose StatementEnd
CREATE TRIGGER keep_document_comment BEFORE UPDATE ON document_comment FOR EACH ROW
    WHEN (NEW.body <> OLD.body AND NEW.mid <> OLD.cid) EXECUTE FUNCTION keep_document_comment();

-- A version is a position in the document's log with a name.
CREATE TABLE document_version (
    tenant_id   uuid NOT NULL,
    id          uuid NOT NULL,
    document_id uuid NOT NULL,
    name        text COLLATE "C" NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    position    bigint NOT NULL CHECK (position >= 0),
    version     bigint NOT NULL,
    cid         bigint NOT NULL,
    ctime       timestamptz NOT NULL,
    mid         bigint NOT NULL,
    mtime       timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, document_id, name),
    FOREIGN KEY (tenant_id, document_id) REFERENCES document (tenant_id, id) ON DELETE CASCADE
);
CALL tenant_table('document_version');

CREATE OR REPLACE VIEW change_audit WITH (security_invoker = true) AS
SELECT * FROM change WHERE entity NOT IN ('vault_collection', 'vault_member', 'vault_item',
    'document', 'document_member', 'document_comment', 'document_version');
