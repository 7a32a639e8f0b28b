// The words of the search dialog in Chinese: the site generator has them in English only, in a
// shadow root, which it makes when the search is opened for the first time.
const WORDS = [
  [/^([\d,]+) results?$/, "$1 个结果"],
  [/^No results$/, "没有结果"],
  [/^Loading search…$/, "正在加载搜索…"],
];

const translate = (root) => {
  for (const status of root.querySelectorAll("[role=status]")) {
    for (const [english, chinese] of WORDS) {
      if (english.test(status.textContent)) {
        status.firstChild.data = status.textContent.replace(english, chinese);
      }
    }
  }
  root.querySelector("input")?.setAttribute("placeholder", "搜索");
};

const waiting = new MutationObserver(() => {
  const root = [...document.body.children].map((element) => element.shadowRoot).find(Boolean);
  if (root) {
    waiting.disconnect();
    translate(root);
    new MutationObserver(() => translate(root)).observe(root, {
      subtree: true,
      childList: true,
      characterData: true,
    });
  }
});
waiting.observe(document.body, { childList: true });
