// The search worker of the site generator, for the pages of one language.
//
// The generator has one list of pages and one language for the whole site, and a worker indexes the
// list that it receives first. This worker empties the pages of the other language (the browser
// finds a result by its position in the list), and names its own language: with "zh", the generator
// splits text into words.
const settings = new URL(self.location.href).searchParams;
const language = settings.get("language");
const chinese = new URL("../zh/", self.location.href).href;
const LIST = 0; // the type of the message that brings the list

importScripts(`../assets/javascripts/workers/${settings.get("worker")}`);

const handle = self.onmessage;
self.onmessage = ({ data: message }) => {
  if (message.type === LIST) {
    const { config, items } = message.data;
    const isSearched = (item) => item.location.startsWith(chinese) === (language === "zh");
    message.data = {
      config: { ...config, lang: [language] },
      items: items.map((item) => (isSearched(item) ? item : { title: "", text: "", path: [] })),
    };
  }
  handle({ data: message });
};
