-- Drops and creates a development database. "rowcall recreate-db" runs this, then the migrations and the seed; by hand,
-- from another database of the same server:
--
--     psql -v db=rowcall -d postgres -f recreate.sql
--
-- The last statement marks the database as one that may be dropped again. Every statement stands by itself, because
-- databases cannot be dropped or created in a transaction.

DROP DATABASE IF EXISTS :"db" WITH (FORCE);
CREATE DATABASE :"db" TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER DATABASE :"db" SET rowcall.environment = 'development';
