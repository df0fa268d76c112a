/** The form of a question: fields named by the message's own words, checked and explained by the browser in its own language. */
import { make } from "./tree.js";

/**
 * @typedef {import("./claim.js").Question} Question
 * @typedef {HTMLInputElement | HTMLTextAreaElement} Field
 */

const LONGEST = 2000;

/** @param {Question} question @returns {Field[]} one, or the radio buttons to choose from */
const fields = ({ kind, choices, scale }) => {
  if (kind == "text") {
    const area = make("textarea");
    area.rows = 3;
    return [area];
  }
  if (kind == "email") {
    const input = make("input");
    input.type = "email";
    input.autocomplete = "email";
    input.placeholder = "name@example.com";
    return [input];
  }
  const [lowest, highest] = (scale || "1-5").split("-").map(Number);
  const values = kind == "rating" ? Array.from({ length: highest - lowest + 1 }, (_, index) => lowest + index) : choices || [];
  return values.map((value) => {
    const radio = make("input");
    radio.type = "radio";
    radio.value = "" + value;
    return radio;
  });
};

/**
 * @param {Question} question
 * @param {string} name id of what names it
 * @param {string} about ids of what describes it
 * @param {Node | string} actions buttons, of which those that submit answer
 * @param {(answer: string | number) => void} answered called with every answer the browser finds in order
 */
export const ask = (question, name, about, actions, answered) => {
  const all = fields(question);
  const group = make("div", all[1] ? question.kind : "", ...all.map((field) => (field.type == "radio" ? make("label", "", field, make("span", "", field.value)) : field)));
  const named = all[1] ? group : all[0];
  const error = make("p", "error");
  error.id = "error";
  error.lang = navigator.language;
  error.setAttribute("role", "alert");
  const form = make("form", "", group, error, actions);
  form.noValidate = true;
  for (const field of all) {
    field.name = "answer";
    field.required = true;
    if (field.type != "radio") field.maxLength = LONGEST;
  }
  if (all[1]) group.setAttribute("role", "radiogroup");
  named?.setAttribute("aria-labelledby", name);
  named?.setAttribute("aria-describedby", about + " error");

  /** @param {string} words empty where nothing is wrong */
  const complain = (words) => {
    error.textContent = words;
    named.setAttribute("aria-invalid", "" + !!words);
  };
  form.addEventListener("input", () => complain(""));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const field = all.find((one) => /** @type {HTMLInputElement} */ (one).checked) || all[0];
    // Blanks alone are no answer. Set only then: it moves the caret.
    if (field.type != "radio" && !field.value.trim()) field.value = "";
    complain(field.validationMessage);
    if (!field.validity.valid) return field.focus();
    answered(question.kind == "rating" ? +field.value : field.value.trim());
  });
  return form;
};
