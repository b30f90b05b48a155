// rpc.discover against the OpenRPC meta-schema, and against a JSON Schema validator that is not ours.

import assert from "node:assert/strict";
import { before, test } from "node:test";

import jsonSchema from "@json-schema-tools/meta-schema";
import openrpc from "@open-rpc/meta-schema";
import Ajv from "ajv";
import addFormats from "ajv-formats";

const url = process.env.ROWCALL_URL;
assert.ok(url, "ROWCALL_URL is not set: run make interop");

let document;

before(async () => {
  // Without a login.
  const response = await fetch(`${url}/api/rpc`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ id: 1, method: "rpc.discover" }),
  });
  assert.equal(response.status, 200);
  document = (await response.json()).result;
});

/** A validator that tells all that is wrong, and asserts formats. */
function validator() {
  const ajv = new Ajv({ allErrors: true, strict: false });
  addFormats(ajv);
  return ajv;
}

function assertValid(validate, value, what) {
  assert.ok(validate(value), `${what}: ${JSON.stringify(validate.errors?.slice(0, 5), null, 2)}`);
}

test("the document is valid against the OpenRPC meta-schema", () => {
  assert.equal(document.openrpc, "1.3.2");
  assert.ok(document.methods.length > 10);
  const ajv = validator();
  // The meta-schemas name each other, and the JSON Schema that they are written in, by addresses: nothing is fetched.
  const { $schema: _, ...ofSchemas } = jsonSchema.jsonSchema;
  const { $schema: __, ...ofDocuments } = openrpc.openrpcDocument;
  ajv.addSchema(ofSchemas);
  ajv.addSchema({ $id: ofSchemas.$id.replace(/\/$/, ""), $ref: ofSchemas.$id }); // it is named without the slash too
  assertValid(ajv.compile(ofDocuments), document, "rpc.discover");
  assert.ok(!ajv.validate(ofDocuments, { ...document, methods: [{ name: "no params" }] }), "what is wrong passes too");
});

test("the names of methods and of their params are unique", () => {
  const names = document.methods.map((method) => method.name);
  assert.deepEqual(names, [...new Set(names)].sort());
  for (const { name, params } of document.methods) {
    assert.equal(new Set(params.map((param) => param.name)).size, params.length, name);
  }
});

test("all schemas are JSON Schemas, and each example is as its method says", () => {
  const ajv = validator();
  ajv.addSchema({ $id: "rowcall:", components: document.components });
  // Schemas refer to the document that they are in.
  const compile = (schema) =>
    ajv.compile(JSON.parse(JSON.stringify(schema).replaceAll('"$ref":"#/', '"$ref":"rowcall:#/')));
  for (const name of Object.keys(document.components.schemas)) {
    compile({ $ref: `#/components/schemas/${name}` });
  }
  for (const { data } of Object.values(document.components.errors)) {
    compile(data);
  }
  let examples = 0;
  for (const method of document.methods) {
    const params = Object.fromEntries(method.params.map((param) => [param.name, compile(param.schema)]));
    const result = compile(method.result.schema);
    for (const error of method.errors) {
      assert.ok(document.components.errors[error.$ref.split("/").at(-1)], error.$ref);
    }
    for (const example of method.examples ?? []) {
      for (const { name, value } of example.params) {
        assertValid(params[name], value, `${method.name} ${name}`);
      }
      for (const { name, required } of method.params) {
        assert.ok(!required || example.params.some((param) => param.name === name), `${method.name} ${name}`);
      }
      assertValid(result, example.result.value, `${method.name} result`);
      examples++;
    }
  }
  assert.ok(examples > 10);
});
