// Makes others members of a document.
import type { Rowcall } from "rowcall";

import { complain, h } from "./dom.js";

/** A select of the users that are no members yet: to choose one is to share. */
export function share(rc: Rowcall, id: string): HTMLElement {
  const select = h("select", { testid: "share", "aria-label": "Share with" });
  const refresh = async () => {
    const [users, members] = await Promise.all([rc.list_users(), rc.list_document_members({ filters: { document_id: id } })]);
    const known = new Set(members.data.map(({ user_id }) => user_id));
    const others = users.data.filter((user) => !known.has(user.id));
    select.replaceChildren(
      h("option", { value: "" }, "Share with …"),
      ...others.map(({ id, username }) => h("option", { value: String(id) }, username)),
    );
  };
  select.addEventListener("change", () => {
    const data = { document_id: id, user_id: Number(select.value), role: "editor" } as const;
    void rc.create_document_member({ data }).then(refresh).catch(complain);
  });
  refresh().catch(complain);
  return select;
}
