// What must compile, and, below each @ts-expect-error, what must not. Only tsc reads this file.
import { Client, Rowcall, RowcallError, type Calls, type Task } from "../src/index.js";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function expect<_T extends true>(): void {}

const rc = new Rowcall({ url: "http://127.0.0.1:8080" });

export async function filters() {
  await rc.list_tasks();
  await rc.list_tasks({ filters: { title: { $contains: "x" }, done: false, due: null, "meta.color": "red" }, list_options: { order_bys: "!title" } });
  await rc.list_tasks({ filters: [{ project_id: { $in: [1, 2] } }, { $not: { title: { $startsWithAny: ["a"] } } }] });
  await rc.list_tasks({ filters: [{ "project.name": { $ilike: "x" } }, { project: { name: "x", tasks: { $none: { done: true } } } }, { project: null }] });
  await rc.list_projects({ filters: { tasks: { $some: { title: "x" } } }, list_options: { order_bys: ["!owner.name", "name"] } });
  // @ts-expect-error a misspelt field
  await rc.list_tasks({ filters: { titel: { $contains: "x" } } });
  // @ts-expect-error a misspelt operator
  await rc.list_tasks({ filters: { title: { $contans: "x" } } });
  // @ts-expect-error an operator of another type
  await rc.list_tasks({ filters: { project_id: { $contains: "x" } } });
  // @ts-expect-error a value of another type
  await rc.list_tasks({ filters: { done: "yes" } });
  // @ts-expect-error a misspelt field of a reference
  await rc.list_tasks({ filters: { "project.nam": "x" } });
  // @ts-expect-error a misspelt field two references away
  await rc.list_tasks({ filters: { "project.owner.nam": "x" } });
  // @ts-expect-error the same in a group
  await rc.list_projects({ filters: { tasks: { $some: { titel: "x" } } } });
  // @ts-expect-error a quantifier that there is not
  await rc.list_projects({ filters: { tasks: { $any: { title: "x" } } } });
  // @ts-expect-error an order by a misspelt field of a reference
  await rc.list_tasks({ list_options: { order_bys: "project.nam" } });
  // @ts-expect-error a path into what is no JSON
  await rc.list_tasks({ filters: { "title.x": "x" } });
  // @ts-expect-error a misspelt field in a group of an array
  await rc.list_tasks({ filters: [{ $and: [{ titel: "x" }] }] });
  // @ts-expect-error an order that there is not
  await rc.list_tasks({ list_options: { order_bys: "!titel" } });
  // @ts-expect-error an option that there is not
  await rc.list_tasks({ list_options: { limits: 1 } });
  // @ts-expect-error a param that there is not
  await rc.list_tasks({ filter: {} });
  // @ts-expect-error a method that there is not
  await rc.list_task();
}

export async function writes() {
  await rc.create_task({ data: { project_id: 1, title: "x" } });
  await rc.update_task({ id: 1, data: { due: null }, version: 3 });
  // @ts-expect-error a required param is missing
  await rc.get_task();
  // @ts-expect-error a required field is missing
  await rc.create_task({ data: { project_id: 1 } });
  // @ts-expect-error a field that clients may not write
  await rc.create_task({ data: { project_id: 1, title: "x", version: 2 } });
  // @ts-expect-error a field that may not be null
  await rc.update_task({ id: 1, data: { title: null } });
}

export async function results() {
  const { data, next_cursor, total } = await rc.list_tasks();
  expect<Equal<typeof data, Task[]>>();
  expect<Equal<typeof next_cursor, string | null>>();
  expect<Equal<typeof total, number | undefined>>();

  for await (const row of rc.rows("list_tasks", { filters: { done: false } })) expect<Equal<typeof row, Task>>();
  // @ts-expect-error there are no pages of it
  rc.rows("get_task", { id: 1 });
}

export async function selections() {
  const { data } = await rc.list_tasks({ list_options: { fields: ["title"], include: { project: { fields: ["name"] } } } });
  data[0]?.title.toUpperCase();
  data[0]?.project?.name.toUpperCase();
  // @ts-expect-error a field that was not asked for
  data[0]?.done;
  await rc.get_project({ id: 1, include: ["owner", "tasks"] });
  // @ts-expect-error a reference that there is not
  await rc.get_project({ id: 1, include: ["owners"] });
  // @ts-expect-error a misspelt field of what is included
  await rc.get_project({ id: 1, include: { tasks: { fields: ["titel"] } } });
  const groups = await rc.aggregate_tasks({ group_by: ["done", { day: { day: "ctime" } }], aggregates: { n: "count", last: { max: "due" } } });
  groups.data[0]?.["n"]?.toString();
  // @ts-expect-error a sum of what is no number
  await rc.aggregate_tasks({ aggregates: { n: { sum: "title" } } });
  await rc.upsert_project({ data: { name: "x" }, on: ["name"] });
  // @ts-expect-error a field that is no key
  await rc.upsert_project({ data: { name: "x" }, on: ["owner_id"] });
}

type Row = { id: number; title: string; owner?: { name: string } };
type Field = "id" | "title";
const chosen = new (class extends Client<ChosenMethods> {})({ get_row: "read", list_rows: "read", delete_row: "write" }) as Client<ChosenMethods> & Calls<ChosenMethods>;
interface ChosenMethods {
  get_row: { params: { id: number; fields?: Field[] | null }; result: { data: Row } };
  list_rows: { params: { list_options?: { limit?: number; fields?: Field[] | null } | null }; result: { data: Row[]; next_cursor: string | null } };
  delete_row: { params: { id: number }; result: { data: Row } };
}

export async function fields() {
  const { data, next_cursor } = await chosen.list_rows({ list_options: { limit: 3, fields: ["title"] } });
  expect<Equal<typeof next_cursor, string | null>>();
  data[0]?.title.toUpperCase();
  data[0]?.owner?.name.toUpperCase();
  // @ts-expect-error a field that was not asked for
  data[0]?.id;
  const { data: row } = await chosen.get_row({ id: 1, fields: ["id"] });
  expect<Equal<typeof row.id, number>>();
  // @ts-expect-error a field that was not asked for
  row.title;
  const { data: whole } = await chosen.get_row({ id: 1 });
  expect<Equal<typeof whole, Row>>();
  // @ts-expect-error a field that there is not
  await chosen.get_row({ id: 1, fields: ["titel"] });
  // @ts-expect-error a field that there is not
  await chosen.list_rows({ list_options: { fields: ["titel"] } });
  // @ts-expect-error an option that there is not
  await chosen.list_rows({ list_options: { limits: 1, fields: ["title"] } });
  // @ts-expect-error a method that takes no fields
  await chosen.delete_row({ id: 1, fields: ["id"] });
}

export async function batches() {
  const [task, users] = await rc.batch((b) => [b.get_task({ id: 1 }), b.list_users()]);
  expect<Equal<typeof task, { data: Task } | RowcallError>>();
  // @ts-expect-error it may have failed
  users.next_cursor;

  const [project, made] = await rc.batch(
    (b) => {
      const p = b.create_project({ data: { name: "x" } });
      // @ts-expect-error a name is no project's id
      b.create_task({ data: { project_id: p.data.name, title: "x" } });
      return [p, b.create_task({ data: { project_id: p.data.id, title: "x" } })];
    },
    { atomic: true },
  );
  expect<Equal<typeof made, { data: Task; position: number | null }>>();
  project.data.name.toUpperCase();
}

export async function errors() {
  try {
    await rc.call("get_task", { id: 1 }, { signal: new AbortController().signal, timeout: 1000 });
    // @ts-expect-error a param of a wrong type
    await rc.call("get_task", { id: "1" });
  } catch (error) {
    if (error instanceof RowcallError && error.is("INVALID_PARAMS")) error.data.issues[0]?.allowed?.includes("title");
    // @ts-expect-error a kind that there is not
    if (error instanceof RowcallError && error.is("INVALID")) return;
    // @ts-expect-error data of another kind
    if (error instanceof RowcallError && error.is("CONFLICT")) error.data.issues;
  }
}

export async function changes() {
  for await (const change of rc.changes({ since: 1, entities: ["task", "user"], onHello: (hello) => hello.position.toFixed() })) {
    if (change.entity !== "task") continue;
    expect<Equal<typeof change.data, Task | null>>();
    expect<Equal<typeof change.id, number>>();
    // @ts-expect-error a deleted row is not there
    change.data.title;
    if (change.op !== "delete") change.data.title.toUpperCase();
    else expect<Equal<typeof change.data, null>>();
  }
  // @ts-expect-error an entity that there is not
  rc.changes({ entities: ["tsk"] });
}
