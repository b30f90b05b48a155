// Makes others members of a document.
import type { Rowcall } from "rowcall";

import { complain, h } from "./dom.js";

/** A select of the users that are no members yet, when it was last refreshed: to choose one is to share. */
export function share(rc: Rowcall, id: string) {
  const element = h("select", { testid: "share", "aria-label": "Share with" });
  const refresh = async () => {
    const [users, members] = await Promise.all([rc.list_users(), rc.list_document_members({ filters: { document_id: id } })]);
    const known = new Set(members.data.map(({ user_id }) => user_id));
    const others = users.data.filter((user) => !known.has(user.id));
    element.replaceChildren(
      h("option", { value: "" }, "Share with …"),
      ...others.map(({ id, username }) => h("option", { value: String(id) }, username)),
    );
  };
  element.addEventListener("change", () => {
    const data = { document_id: id, user_id: Number(element.value), role: "editor" } as const;
    void rc.create_document_member({ data }).then(refresh).catch(complain);
  });
  return { element, refresh: () => void refresh().catch(complain) };
}
