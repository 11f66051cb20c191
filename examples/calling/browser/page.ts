import { classify } from "./classify.ts";

const days = (spend: number, leads: number) => Array.from({ length: 28 }, () => ({ spend, leads }));
const gateway = new URLSearchParams(location.search).get("gateway") ?? "http://127.0.0.1:8080";
const answer = document.querySelector<HTMLElement>("#answer")!;

document.querySelector<HTMLFormElement>("form")!.addEventListener("submit", async (event) => {
  event.preventDefault();
  const data = new FormData(event.target as HTMLFormElement);
  const [spend, leads] = [Number(data.get("spend")), Number(data.get("leads"))];
  answer.textContent = "asking ...";
  answer.textContent = await classify(gateway, days(spend, leads), days(1500, 100));
});
