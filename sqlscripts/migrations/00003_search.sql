-- Search for words, and for values in JSON, by an index.
--
-- Under row-level security Postgres does not use an index for an operator that it does not know to be leakproof, and it knows
-- neither @@ nor @> of jsonb to be. So functions that run as the owner of the table, to whom a policy shows it, ask the index
-- for the ids of the rows. They ask for those of the tenant that the connection is set to, and the statement around them names the
-- tenant again, behind the fence. The tenant is a part of what is indexed, so that a tenant's search costs nothing for the rows of
-- others.

-- +goose Up
-- +goose StatementBegin

-- search_index makes the rows of a tenant's table searchable for words of an expression over its columns, as the text search
-- configuration splits them (https://www.postgresql.org/docs/current/textsearch.html): for entities that declare store.Search.
CREATE PROCEDURE search_index(name regclass, config regconfig, expression text) LANGUAGE plpgsql AS $$
DECLARE
    id_type text := (SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = name AND attname = 'id');
    plain text := (SELECT relname FROM pg_class WHERE oid = name);
BEGIN
    -- No word has an = in it, so none is the tenant.
    EXECUTE format('ALTER TABLE %s ADD COLUMN search tsvector GENERATED ALWAYS AS
        (to_tsvector(%L::regconfig, %s) || array_to_tsvector(ARRAY[''='' || tenant_id::text])) STORED', name, config, expression);
    EXECUTE format('CREATE INDEX %I ON %s USING gin (search)', plain || '_search', name);
    EXECUTE format('CREATE FUNCTION %I(words text) RETURNS SETOF %s LANGUAGE sql STABLE SECURITY DEFINER ROWS 100
        SET search_path = public, pg_temp AS $body$
            SELECT t.id FROM %s t, websearch_to_tsquery(%L::regconfig, words) q
            WHERE numnode(q) > 0
              AND t.search @@ ((''''''='' || nullif(current_setting(''app.tenant_id'', true), '''') || '''''''')::tsquery && q)
        $body$', plain || '_search', id_type, name, config);
    EXECUTE format('CREATE FUNCTION %I(search tsvector, words text) RETURNS bool LANGUAGE sql IMMUTABLE AS
        $body$ SELECT search @@ websearch_to_tsquery(%L::regconfig, words) $body$', plain || '_matches', config);
    EXECUTE format('CREATE FUNCTION %I(search tsvector, words text) RETURNS float8 LANGUAGE sql IMMUTABLE AS
        $body$ SELECT ts_rank(search, websearch_to_tsquery(%L::regconfig, words))::float8 $body$', plain || '_rank', config);
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %I(text) FROM PUBLIC', plain || '_search');
    EXECUTE format('GRANT EXECUTE ON FUNCTION %I(text) TO rowcall_tenant', plain || '_search');
    CALL owner_reads(name);
END
$$;

-- json_index makes an index that finds the rows of a tenant's table whose JSON column contains a value at a path: for fields with
-- the tag index:"gin".
CREATE PROCEDURE json_index(name regclass, col text) LANGUAGE plpgsql AS $$
DECLARE
    id_type text := (SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = name AND attname = 'id');
    plain text := (SELECT relname FROM pg_class WHERE oid = name);
    document text := format('jsonb_set(jsonb_set(''{}'', ''{v}'', %I), ''{t}'', (''"'' || tenant_id::text || ''"'')::jsonb)', col);
BEGIN
    EXECUTE format('CREATE INDEX %I ON %s USING gin ((%s) jsonb_path_ops)', plain || '_' || col, name, document);
    EXECUTE format('CREATE FUNCTION %I(part jsonb) RETURNS SETOF %s LANGUAGE sql STABLE SECURITY DEFINER ROWS 100
        SET search_path = public, pg_temp AS $body$
            SELECT id FROM %s
            WHERE %s @> jsonb_build_object(''t'', nullif(current_setting(''app.tenant_id'', true), ''''), ''v'', part)
        $body$', plain || '_' || col || '_contains', id_type, name, document);
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %I(jsonb) FROM PUBLIC', plain || '_' || col || '_contains');
    EXECUTE format('GRANT EXECUTE ON FUNCTION %I(jsonb) TO rowcall_tenant', plain || '_' || col || '_contains');
    CALL owner_reads(name);
END
$$;

-- owner_reads lets the owner of a table read it, whom FORCE ROW LEVEL SECURITY holds otherwise. No server works as the owner.
CREATE PROCEDURE owner_reads(name regclass) LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = name AND polname = 'owner_reads') THEN
        EXECUTE format('CREATE POLICY owner_reads ON %s FOR SELECT TO CURRENT_USER USING (true)', name);
    END IF;
END
$$;
-- +goose StatementEnd
REVOKE EXECUTE ON PROCEDURE search_index, json_index, owner_reads FROM PUBLIC;

CALL search_index('task', 'simple', 'title');
CALL json_index('task', 'meta');
