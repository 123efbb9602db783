// A single-page client: it knows its API and a JSON Web Token, no session.
import { show } from "./live.js";

const form = document.querySelector("#login");

async function post(url, body, jwt) {
  const headers = { "Content-Type": "application/json", ...(jwt && { Authorization: `Bearer ${jwt}` }) };
  const answer = await fetch(url, { method: "POST", headers, body: JSON.stringify(body), credentials: "omit" });
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  return answer.json();
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { access } = await post(form.dataset.token, Object.fromEntries(new FormData(form)));
  const run = await post(form.dataset.exports, { rows: 40, pause: 0.25 }, access);
  show(run, document.querySelector("#runs"));
});
