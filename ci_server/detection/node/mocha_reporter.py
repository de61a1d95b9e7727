"""The reporter with which Mocha prints what it always prints, and writes a JUnit report, too: it can have but one."""

MOCHA_REPORTER = r"""
const fs = require('fs')
const { reporters } = require(require.resolve('mocha', { paths: [process.cwd()] }))
const text = value => String(value).replace(/[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g, '\ufffd')
const escaped = value => text(value).replace(/[&<>"]/g, one => `&#${one.charCodeAt(0)};`)

module.exports = class extends reporters.Spec {
  constructor (runner, options) {
    super(runner, options)
    const cases = []
    const add = (test, inner) => {
      const titles = typeof test.titlePath === 'function' ? test.titlePath() : [test.title]
      const name = titles[titles.length - 1]
      const suite = titles.slice(0, -1).join(' ')
      const time = ((test.duration || 0) / 1000).toFixed(3)
      const file = test.file ? ` file="${escaped(test.file)}"` : ''
      const named = `classname="${escaped(suite)}" name="${escaped(name)}"${file}`
      cases.push(`<testcase ${named} time="${time}">${inner}</testcase>\n`)
    }
    runner.on('pass', test => add(test, ''))
    runner.on('pending', test => add(test, '<skipped/>'))
    runner.on('fail', (test, error) => {
      const { message, stack } = error || {}
      const shown = message === undefined ? error : message
      add(test, `<failure message="${escaped(shown)}">${escaped(stack || shown)}</failure>`)
    })
    runner.once('end', () => {
      try {
        const report = `<testsuite name="mocha">\n${cases.join('')}</testsuite>\n`
        fs.writeFileSync(`${process.env.CI_REPORTS}/mocha.xml`, report)
      } catch {}
    })
  }
}
"""
